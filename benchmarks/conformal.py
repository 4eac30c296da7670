"""Do sets of classes hold the true one as often as they say, on real features?

    python benchmarks/conformal.py --data ../shared/data
    python benchmarks/conformal.py --data ../shared/data --words

Sets, draws and learners as in `calibration.py`: share of sets that hold the true class, in %, and their mean size. With
``--words`` learners that also read the names of the classes, of 77 intents and six kinds of questions (MiniLM).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from calibration import SETS, Rows, draw
from text import SETS as TEXTS

from fewshot import FewShotClassifier, ZeroShotClassifier, embed, list_learners, load_learner

LEARNERS = ["l2 | logistic", "prototypes", "lda", "ridge", "soft-kmeans", "distribution-calibration"]
Found = tuple[np.ndarray, np.ndarray]  # sets [n, N], and the place of the true class [n]


def without_words(learner: str, parts: tuple[np.ndarray, ...], coverage: float) -> Found:
    """Sets of a learner of features."""
    X, y, X_new, y_new = parts
    return FewShotClassifier(learner=learner).fit(X, y).predict_set(X_new, coverage), y_new


def with_words(names: np.ndarray) -> Callable[[str, tuple[np.ndarray, ...], float], Found]:
    """Sets of a learner that reads names; labels are numbers of names here."""

    def sets_of(learner: str, parts: tuple[np.ndarray, ...], coverage: float) -> Found:
        X, y, X_new, y_new = parts
        classifier = ZeroShotClassifier("text:minilm", templates="{label}", learner=learner).fit(X, names[y])
        return classifier.predict_set(X_new, coverage), np.searchsorted(classifier.classes_, names[y_new])

    return sets_of


def texts(name: str, folder: Path) -> tuple[Rows, np.ndarray]:
    """Rows of the test part of a set of texts, and what its classes are called."""
    _, (sentences, labels), names = TEXTS[name](folder / "text")
    rows = embed(sentences, "text:minilm", progress=False).features.float().numpy()
    return (rows, labels), np.array([label.replace("_", " ") for label in names])


def numbered(rows: Rows, ways: int, shots: int, seed: int) -> tuple[np.ndarray, ...]:
    """A draw whose labels are those of the whole set."""
    index = np.arange(len(rows[1]))[:, None]
    places, _, asked, _ = draw((index, rows[1]), ways, shots, seed)
    places, asked = places[:, 0], asked[:, 0]
    return rows[0][places], rows[1][places], rows[0][asked], rows[1][asked]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--learners", nargs="+", help="default: some of each kind")
    parser.add_argument("--words", action="store_true", help="learners that read names of classes, on sets of texts")
    parser.add_argument("--sets", nargs="+", help=f"of {', '.join(SETS)}; with --words of {', '.join(TEXTS)}")
    parser.add_argument("--ways", type=int, default=10)
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    worded = [name for name in list_learners() if load_learner(name).needs == ("support", "text")]
    learners = options.learners or (worded if options.words else LEARNERS)
    chosen = options.sets or (["banking77", "TREC"] if options.words else list(SETS))
    print("| learner | " + " | ".join(f"{name} {shots}" for name in chosen for shots in options.shots) + " |")
    print("|---" * (1 + len(chosen) * len(options.shots)) + "|")
    sets = []
    for name in chosen:
        if options.words:
            rows, names = texts(name, options.data)
            sets.append((rows, numbered, with_words(names)))
        else:
            sets.append((SETS[name](options.data), draw, without_words))
    for learner in learners:
        cells = []
        for rows, drawn, sets_of in sets:
            for shots in options.shots:
                held, size = [], []
                for seed in range(options.draws):
                    parts = drawn(rows, options.ways, shots, seed)
                    if not len(parts[1]):
                        continue  # no class has as many
                    found, true = sets_of(learner, parts, options.coverage)
                    held.append(found[np.arange(len(true)), true].mean())
                    size.append(found.sum(1).mean())
                cells.append(f"{100 * np.mean(held):.0f} of {np.mean(size):.1f}" if held else "")
        print(f"| `{learner.replace('|', chr(92) + '|')}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
