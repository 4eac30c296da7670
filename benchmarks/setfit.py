"""SetFit against the frozen encoder with the same head: texts of three kinds, 8 examples a class.

    python benchmarks/setfit.py --data ../shared/data --out setfit.jsonl

Each draw takes other examples from the training part; both sides learn from the same ones and answer the same rows of
the test part, and end in the same logistic regression. Draws that the file has are not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from text import SETS

from episodes import Episode, TextSource
from episodes.statistics import mean_interval
from fewshot import embed, fine_tune, load_encoder, load_learner

ITERATIONS = {"SST-2": 20, "TREC": 5, "banking77": 1}  # 640, 480 and 1,232 pairs: they grow with the classes
SHOTS = 8


def draw(name: str, folder: Path, seed: int, rows: int, encoder: object, cache: object) -> dict[str, object]:
    train, test, names = SETS[name](folder)
    random = np.random.default_rng(seed)
    labels = train[1]
    index = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:SHOTS] for c in range(len(names))])
    asked = np.random.default_rng(0).permutation(len(test[0]))[:rows]
    examples = TextSource([train[0][row] for row in index], labels[index], names, name=name)
    queries = TextSource([test[0][row] for row in asked], test[1][asked], names, name=name)

    def right(rows: object) -> float:
        return float((rows.argmax(1) == queries.labels).double().mean())  # type: ignore[attr-defined]

    support, query = (embed(part, encoder, cache=cache, storage="float32", progress=False).features.float()
                      for part in (examples, queries))  # fmt: skip
    episode = Episode(support[None], examples.labels[None], query[None], way=len(names))
    with torch.no_grad():
        frozen = right(load_learner("logistic")(episode)[0])
    began = time.perf_counter()
    tuned = fine_tune(
        encoder, examples, f"setfit({ITERATIONS[name]})", batch_size=16, cache=False, seed=seed, progress=False
    )
    seconds = time.perf_counter() - began
    found = right(tuned.logits(queries, cache=False))
    return {"set": name, "draw": seed, "frozen": frozen, "setfit": found, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file, from which it resumes")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--test", type=int, default=400, help="rows of the test part, the same in all draws")
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.is_file() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["set"], row["draw"]) for row in rows}
    encoder = load_encoder("text:minilm")
    for seed in range(options.draws):
        for name in ITERATIONS:
            if (name, seed) in done:
                continue
            rows.append(
                draw(name, options.data / "text", seed, options.test, encoder, options.out.with_suffix(".cache"))
            )
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    for name in ITERATIONS:
        own = [row for row in rows if row["set"] == name]
        sides = [100 * np.array([row[side] for row in own]) for side in ("frozen", "setfit")]
        shown = []
        for values in (*sides, sides[1] - sides[0]):
            shown.append(f"{values.mean():.1f} ± {mean_interval(values):.1f}")
        seconds = np.median([row["seconds"] for row in own])
        print(f"| {name} | {len(own)} | {' | '.join(shown)} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
