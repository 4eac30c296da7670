"""Do outlier scores tell queries of unknown classes from the others as well as distances to class means do?

    python benchmarks/outliers.py --data ../shared/data --out outliers.jsonl

Five classes known and five unknown, of the features of `defaults.py` that have ten classes; AUROC in points, each
learner less `prototypes` behind the same transforms on the same episodes: the mean, the lowest, and where that is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from defaults import chained
from feature_sets import FeatureSet, image_sets, text_sets

from episodes import compare, evaluate
from episodes.samplers.open_set import OpenSetSampler
from fewshot import load_learner

LEARNERS = [
    "baseline++", "distribution-calibration", "fine-tune", "lda", "logistic", "mahalanobis", "matching", "metaoptnet",
    "nearest", "prototypes(distance='cosine')", "r2d2", "ridge", "scaled-prototypes", "simpleshot",
    "soft-kmeans(queries=False)", "subspace", "svm",
]  # fmt: skip
_KNOWN, _OPEN, _QUERIES = 5, 5, 10


def measured(data: FeatureSet, shot: int, specs: list[str], episodes: int, out: str | None) -> dict[str, float]:
    """AUROC of each, less that of its reference, in points."""
    sampler = OpenSetSampler(data.source.labels, _KNOWN, shot, _QUERIES, open_way=_OPEN, name=data.name)
    fronts = {spec: "".join(spec.rpartition(" | ")[:2]) for spec in specs}
    asked = list(dict.fromkeys([*specs, *(f"{front}prototypes" for front in fronts.values())]))
    found = evaluate({spec: load_learner(spec) for spec in asked}, data.source, sampler, episodes=episodes,
                     metric="auroc", out=out, progress=False)  # fmt: skip
    return {spec: 100 * compare(found[spec], found[f"{front}prototypes"]).difference
            for spec, front in fronts.items()}  # fmt: skip


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", help="JSON Lines file to add to and resume from")
    parser.add_argument("--cache", help="embedding cache (default: the user's)")
    parser.add_argument("--learners", nargs="+", default=LEARNERS)
    parser.add_argument("--front", nargs="+", default=["", "l2"], help="transforms that learners stand behind")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--each", action="store_true", help="also print the difference on each set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = [*text_sets(options.data, options.cache), *image_sets(options.data, options.cache)]
    sets = [data for data in sets if len(data.source.class_names) >= _KNOWN + _OPEN]
    specs = [chained(front, name) for front in options.front for name in options.learners]
    table = {(data.name, shot): measured(data, shot, specs, options.episodes, options.out)
             for data in sets for shot in options.shots}  # fmt: skip
    heads = " | ".join(f"{shot} shots: mean | lowest | where" for shot in options.shots)
    print(f"| learner | {heads} |" + "\n" + "|---" * (1 + 3 * len(options.shots)) + "|")
    for spec in specs:
        cells = []
        for shot in options.shots:
            by_set = {data.name: table[data.name, shot][spec] for data in sets}
            where = min(by_set, key=by_set.__getitem__)
            cells.append(f"{np.mean(list(by_set.values())):+.1f} | {by_set[where]:+.1f} | {where}")
            if options.each:
                print("  ", shot, spec, ", ".join(f"{name} {value:+.1f}" for name, value in by_set.items()))
        print(f"| `{spec.replace('|', chr(92) + '|')}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
