"""How far probabilities can be trusted after `fit`: calibration error before and after, for every learner.

    python benchmarks/calibration.py --data ../shared/data
    python benchmarks/calibration.py --data ../shared/data --words
    python benchmarks/calibration.py --data ../shared/data --shots 1 2 5 --unlabelled 15

Features of Caltech-101 and DTD (CLIP ViT-B/32), office objects (MobileNetV2) and banking77 (MiniLM). For each draw of
classes and examples the whole rest of those classes (at most 15 rows each) is predicted in one call. The number is the
expected calibration error in points over ten bins, all draws together: with calibrated=False, then as `fit` does it.
With ``--words``, learners that also read the names of the classes, of 77 intents and six kinds of questions (MiniLM).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from text import SETS as TEXTS

from fewshot import FewShotClassifier, ZeroShotClassifier, embed, list_learners, load_learner

Rows = tuple[np.ndarray, np.ndarray]
Classifier = FewShotClassifier | ZeroShotClassifier


def clip(name: str) -> Callable[[Path], Rows]:
    """Test features of a set of `clip_vitb32`."""

    def read(folder: Path) -> Rows:
        stored = np.load(folder / "clip_vitb32" / f"{name}.npz")
        return stored["test_X"].astype(np.float32), stored["test_y"].astype(np.int64)

    return read


def office(folder: Path) -> Rows:
    """Ten office objects in pictures of a shop."""
    stored = np.load(folder / "transfer" / "office_caltech10" / "mobilenetv2_1280.npz")
    return stored["amazon_X"].astype(np.float32), stored["amazon_y"].astype(np.int64)


def banking(folder: Path) -> Rows:
    """Test part of the 77 intents."""
    import csv

    with open(folder / "text" / "banking77" / "banking_data" / "test.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["category"] for row in rows})
    source = embed([row["text"] for row in rows], "text:minilm", progress=False)
    return source.features.float().numpy(), np.array([names.index(row["category"]) for row in rows])


SETS = {"caltech101": clip("caltech101"), "dtd": clip("dtd"), "office": office, "banking77": banking}


def draw(rows: Rows, ways: int, shots: int, seed: int, unlabelled: int = 0) -> tuple[np.ndarray, ...]:
    """Examples and queries of some classes, then rows without labels; `ways` 0 is all.

    Of a class with few rows, half of the rest are queries where `unlabelled` ones are wanted.
    """
    X, y = rows
    random = np.random.default_rng([seed, ways, shots])
    able = np.flatnonzero(np.bincount(y) >= shots + 5)
    chosen = random.permutation(able)[: ways or None]
    picked = [random.permutation(np.flatnonzero(y == c)) for c in chosen]
    asked = [min(15, (len(p) - shots) // 2 if unlabelled else len(p) - shots) for p in picked]
    support, queries = [p[:shots] for p in picked], [p[shots : shots + n] for p, n in zip(picked, asked, strict=True)]
    others = [p[shots + n : shots + n + unlabelled] for p, n in zip(picked, asked, strict=True)]
    number = {c: place for place, c in enumerate(chosen)}
    parts = []
    for chunk in (np.concatenate(support), np.concatenate(queries)):
        parts += [X[chunk], np.array([number[c] for c in y[chunk]])]
    return (*parts, X[np.concatenate(others)])


def texts(name: str, folder: Path) -> tuple[Rows, np.ndarray]:
    """Rows of the test part of a set of texts, and what its classes are called."""
    _, (sentences, labels), names = TEXTS[name](folder / "text")
    rows = embed(sentences, "text:minilm", progress=False).features.float().numpy()
    return (rows, labels), np.array([label.replace("_", " ") for label in names])


def numbered(rows: Rows, ways: int, shots: int, seed: int) -> tuple[np.ndarray, ...]:
    """A draw whose labels are those of the whole set."""
    index = np.arange(len(rows[1]))[:, None]
    places, _, asked, _, others = draw((index, rows[1]), ways, shots, seed)
    places, asked = places[:, 0], asked[:, 0]
    return rows[0][places], rows[1][places], rows[0][asked], rows[1][asked], rows[0][others[:, 0]]


class Data(NamedTuple):
    """One set, whose classes have names or not."""

    rows: Rows
    names: np.ndarray | None = None

    def drawn(self, ways: int, shots: int, seed: int, unlabelled: int = 0) -> tuple[np.ndarray, ...]:
        """Examples, queries and rows without labels; empty where no class has as many."""
        if self.names is None:
            return draw(self.rows, ways, shots, seed, unlabelled)
        return numbered(self.rows, ways, shots, seed)

    def fit(self, learner: str, X: np.ndarray, y: np.ndarray, calibrated: bool, others: np.ndarray) -> Classifier:
        """A classifier of the examples, with the words of their classes where they have some."""
        if self.names is None:
            told = others if calibrated and len(others) else None
            return FewShotClassifier(learner=learner, calibrated=calibrated).fit(X, y, unlabelled=told)
        made = ZeroShotClassifier("text:minilm", templates="{label}", learner=learner, calibrated=calibrated)
        return made.fit(X, self.names[y])

    def places(self, classifier: Classifier, y: np.ndarray) -> np.ndarray:
        """Columns of the true classes."""
        return np.searchsorted(classifier.classes_, y if self.names is None else self.names[y])


def chosen_sets(folder: Path, chosen: list[str] | None, words: bool) -> dict[str, Data]:
    """The sets asked for."""
    if words:
        return {name: Data(*texts(name, folder)) for name in chosen or ["banking77", "TREC"]}
    return {name: Data(SETS[name](folder)) for name in chosen or SETS}


def learners_of(words: bool) -> list[str]:
    """All that classify rows, by labelled ones alone or by the names of their classes as well."""
    made = {name: load_learner(name) for name in list_learners()}
    if words:
        return [name for name, learner in made.items() if learner.needs == ("support", "text")]
    return [name for name, learner in made.items()
            if learner.inputs == "features" and learner.needs[0] == "support" and "text" not in learner.needs
            and not hasattr(learner, "item_shape") and name != "sklearn"]  # fmt: skip


def calibration_error(probabilities: list[np.ndarray], y: list[np.ndarray]) -> float:
    """Mean gap between stated and true accuracy over ten bins, in points."""
    stated = np.concatenate([part.max(1) for part in probabilities])
    right = np.concatenate([part.argmax(1) == labels for part, labels in zip(probabilities, y, strict=True)])
    place = np.minimum((stated * 10).astype(int), 9)
    return float(100 * sum(abs((stated - right)[place == number].sum()) for number in range(10)) / len(stated))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--learners", nargs="+", help="default: all that need labelled features alone")
    parser.add_argument("--words", action="store_true", help="learners that read names of classes, on sets of texts")
    parser.add_argument("--sets", nargs="+", help=f"of {', '.join(SETS)}; with --words of {', '.join(TEXTS)}")
    parser.add_argument("--ways", nargs="+", type=int, default=[5, 0], help="0: all classes at once")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--draws", type=int, default=20, help="of 5 ways; of all classes a tenth as many")
    parser.add_argument("--unlabelled", type=int, default=0, help="rows of each class that are given without labels")
    options = parser.parse_args()
    if options.unlabelled and options.words:
        parser.error("--unlabelled is of learners without words")
    sets = chosen_sets(options.data, options.sets, options.words)
    columns = [(ways, shots) for ways in options.ways for shots in options.shots]
    heads = [f"{name} {ways or 'all'}-way {shots}" for name in sets for ways, shots in columns]
    print("| learner | " + " | ".join(heads) + " | seconds of fit, before / after |")
    print("|---" * (len(heads) + 2) + "|")
    for name in options.learners or learners_of(options.words):
        shown = name.replace("|", r"\|")
        cells, seconds = [], {False: 0.0, True: 0.0}
        for data in sets.values():
            for ways, shots in columns:
                errors = {}
                for calibrated in (False, True):
                    probabilities, truth = [], []
                    for seed in range(options.draws if ways else max(1, options.draws // 10)):
                        X, y, X_new, y_new, others = data.drawn(ways, shots, seed, options.unlabelled)
                        if not len(y):
                            continue  # no class has as many
                        started = time.process_time()
                        classifier = data.fit(name, X, y, calibrated, others)
                        seconds[calibrated] += time.process_time() - started
                        probabilities.append(classifier.predict_proba(X_new))
                        truth.append(data.places(classifier, y_new))
                    errors[calibrated] = calibration_error(probabilities, truth) if truth else float("nan")
                cells.append(f"{errors[False]:.0f} > {errors[True]:.1f}" if errors[True] == errors[True] else "")
        print(
            f"| `{shown}` | " + " | ".join(cells) + f" | {seconds[False]:.2f} / {seconds[True]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
