"""Texts with a sentence encoder, zero-shot and from a few examples, against scikit-learn on TF-IDF.

    python benchmarks/text.py --data ../shared/data

All classes at once, K examples per class drawn anew for each seed from the training part, the whole test part as
queries. The sentence encoder is all-MiniLM-L6-v2; class names are the prompts.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from episodes import Episode, TextSource
from episodes.statistics import mean_interval
from fewshot import Prompts, embed, load_encoder, load_learner

LEARNERS = ["zero-shot", "prototypes(distance='cosine')", "l2 | logistic(C=10.0)", "l2 | ridge(alpha=0.1)", "proker",
            "tip-adapter", "clap"]  # fmt: skip
PEER = "scikit-learn, TF-IDF"
Part = tuple[list[str], np.ndarray]


def banking(folder: Path) -> tuple[Part, Part, list[str]]:
    """77 intents of a bank's customers."""
    parts = []
    for name in ("train", "test"):
        with open(folder / "banking77" / "banking_data" / f"{name}.csv", encoding="utf-8") as file:
            parts.append([(row["text"], row["category"]) for row in csv.DictReader(file)])
    names = sorted({label for _, label in parts[0]})
    train, test = (([t for t, _ in part], np.array([names.index(label) for _, label in part])) for part in parts)
    return train, test, names


def sentconv(name: str, names: list[str]) -> Callable[[Path], tuple[Part, Part, list[str]]]:
    """Question types, or sentiment."""

    def read(folder: Path) -> tuple[Part, Part, list[str]]:
        parts = []
        for kind in ("train", "test"):
            path = folder / "sentconv" / "data" / (f"TREC.{kind}.all" if name == "TREC" else f"stsa.binary.{kind}")
            pairs = [line.partition(" ") for line in path.read_text(encoding="latin-1").splitlines() if line.strip()]
            parts.append(([text for _, _, text in pairs], np.array([int(label) for label, _, _ in pairs])))
        return parts[0], parts[1], names

    return read


SETS = {
    "banking77": banking,
    "TREC": sentconv("TREC", ["description", "entity", "abbreviation", "human", "location", "number"]),
    "SST-2": sentconv("SST-2", ["negative", "positive"]),
}


def peer(train: Part, test: Part, index: np.ndarray) -> float:
    """Logistic regression on TF-IDF of words, as scikit-learn has it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    model.fit([train[0][row] for row in index], train[1][index])
    return float((model.predict(test[0]) == test[1]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--learners", nargs="+", default=[*LEARNERS, PEER])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cache", help="embedding cache (default: the user's)")
    options = parser.parse_args()
    encoder = load_encoder("text:minilm")

    def features(texts: list[str]) -> Tensor:
        source = TextSource(texts, torch.zeros(len(texts), dtype=torch.int64), ["text"])
        return embed(source, encoder, cache=options.cache, progress=False).features.float()

    for name, read in SETS.items():
        train, test, names = read(options.data / "text")
        rows, queries = features(train[0]), features(test[0])
        targets, text = torch.from_numpy(test[1]), Prompts(names, "{label}").encode(encoder, cache=options.cache)
        print(f"| {name} ({len(names)}) | 0 | 1 | 5 | 10 |\n|---|---|---|---|---|")
        supports = {}
        for shot in (1, 5, 10):
            pick = np.random.Generator(np.random.Philox(shot))
            supports[shot] = [
                np.concatenate([pick.permutation(np.flatnonzero(train[1] == c))[:shot] for c in range(len(names))])
                for _ in range(options.seeds)
            ]

        def score(learner: str, index: np.ndarray) -> float:
            episode = Episode(
                rows[index][None], torch.from_numpy(train[1][index])[None], queries[None], len(names), text[None]
            )
            with torch.no_grad():
                return float((load_learner(learner)(episode)[0].argmax(-1) == targets).float().mean())

        for learner in options.learners:
            cells = []
            if learner != PEER and "text" in load_learner(learner).needs:
                cells.append(f"{100 * score(learner, np.zeros(0, np.int64)):.1f}")
            else:
                cells.append("")
            for shot in (1, 5, 10):
                if learner == "zero-shot":
                    cells.append("")
                    continue
                values = [
                    peer(train, test, index) if learner == PEER else score(learner, index) for index in supports[shot]
                ]
                cells.append(f"{100 * np.mean(values):.1f} ± {100 * mean_interval(values):.1f}")
            print(f"| `{learner}` | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
