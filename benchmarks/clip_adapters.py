"""Zero-shot and every adapter on real CLIP ViT-B/32 features, by shots, with intervals over seeds.

    python benchmarks/clip_adapters.py --data ../shared/data

Caltech-101: the 48 classes whose text vector "a photo of a {label}" is known, K of the 16 official training images per
class drawn anew for each seed (features are means over ten augmented views), the whole test split as queries.
ImageNet: the 309 classes with text, K of seven images per class, the others as queries. No hyper-parameter is chosen on
anything: all learners at their defaults, but adapters alone, without words and class means beside them (words=0.0).
Learners marked T see all queries together.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small products: threads would only wait for one another

import numpy as np
import torch
from torch import Tensor

from episodes import Episode
from episodes.statistics import mean_interval
from fewshot import load_learner


def _alone(spec: str) -> str:
    """The method without words and class means beside it."""
    return f"{spec[:-1]}, words=0.0)" if spec.endswith(")") else f"{spec}(words=0.0)"


_ALONE = [
    "tip-adapter-f", "gda", "proker", "cross-modal", "cross-modal(solver='sgd')", "zs-lp", "zs-lp(wise=0.5)", "clap",
    "taskres", "clip-adapter", "lp++", "zlap", "transclip", "stata",
]  # fmt: skip
LEARNERS = [
    "zero-shot", "tip-adapter", *(_alone(spec) for spec in _ALONE),
    "prototypes(distance='cosine')", "l2 | logistic(C=10.0)",
]  # fmt: skip


def caltech(folder: Path, shot: int, seeds: int) -> tuple[Episode, Tensor]:
    """48-way episodes: seeds differ in the support; the queries are the whole test split."""
    with np.load(folder / "clip_vitb32" / "caltech101.npz") as file:
        keep = np.flatnonzero(file["text_mask"])
        text = torch.from_numpy(file["text_W"][keep].astype(np.float32))
        rows, labels = file["support16_X"].astype(np.float32), file["support16_y"]
        queries, answers = file["test_X"].astype(np.float32), file["test_y"]
    place = {int(label): way for way, label in enumerate(keep)}
    chosen = np.array([int(label) in place for label in answers])
    by_class = np.stack([np.flatnonzero(labels == label) for label in keep])  # [N, 16]
    pick = np.random.Generator(np.random.Philox(0))
    index = np.stack([np.stack([pick.permutation(row)[:shot] for row in by_class]) for _ in range(seeds)])
    query = torch.from_numpy(queries[chosen]).expand(seeds, -1, -1)
    targets = torch.tensor([place[int(label)] for label in answers[chosen]]).expand(seeds, -1)
    return _episode(torch.from_numpy(rows[index.reshape(seeds, -1)]), shot, query, text), targets


def imagenet(folder: Path, shot: int, seeds: int) -> tuple[Episode, Tensor]:
    """309-way episodes of seven images per class."""
    with np.load(folder / "clip_vitb32" / "imagenet.npz") as file:
        keep = np.flatnonzero(file["text_mask"])
        text = torch.from_numpy(file["text_W"][keep].astype(np.float32))
        rows = np.concatenate([file[f"support{k}_X"] for k in (1, 2, 4)]).astype(np.float32)
        labels = np.concatenate([file[f"support{k}_y"] for k in (1, 2, 4)])
    by_class = np.stack([np.flatnonzero(labels == label) for label in keep])  # [N, 7]
    pick = np.random.Generator(np.random.Philox(0))
    index = np.stack([np.stack([pick.permutation(row) for row in by_class]) for _ in range(seeds)])  # [E, N, 7]
    support = torch.from_numpy(rows[index[:, :, :shot].reshape(seeds, -1)])
    query = torch.from_numpy(rows[index[:, :, shot:].reshape(seeds, -1)])
    targets = torch.arange(len(keep)).repeat_interleave(7 - shot).expand(seeds, -1)
    return _episode(support, shot, query, text), targets


def _episode(support: Tensor, shot: int, query: Tensor, text: Tensor) -> Episode:
    seeds, way = len(support), len(text)
    labels = torch.arange(way).repeat_interleave(shot).expand(seeds, -1)
    return Episode(support, labels, query, way, text.expand(seeds, -1, -1), torch.arange(seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=("caltech", "imagenet"), help="one of the two")
    parser.add_argument("--learner", nargs="+", default=LEARNERS, metavar="SPEC")
    options = parser.parse_args()
    for name, make, shots in (("Caltech-101, 48 classes", caltech, (1, 2, 4, 8, 16)),
                              ("ImageNet, 309 classes", imagenet, (1, 2, 4))):  # fmt: skip
        if options.only and not name.lower().startswith(options.only):
            continue
        print(f"| {name} | " + " | ".join(f"{shot}-shot" for shot in shots) + " | s |")
        print("|---" * (len(shots) + 2) + "|")
        episodes = {shot: make(options.data, shot, options.seeds) for shot in shots}
        for spec in options.learner:
            learner, cells, begin = load_learner(spec), [], time.perf_counter()
            for shot in shots:
                episode, targets = episodes[shot]
                with torch.no_grad():  # one seed at a time: some learners hold [Q, Q]
                    right = [float((learner(one).argmax(-1) == targets[e]).float().mean())
                             for e, one in enumerate(episode)]  # fmt: skip
                half = mean_interval(right) if len(right) > 1 else 0.0
                cells.append(f"{100 * np.mean(right):.1f} ± {100 * half:.1f}")
            sign = " T" if learner.transductive else ""
            print(f"| `{spec}`{sign} | " + " | ".join(cells) + f" | {time.perf_counter() - begin:.0f} |", flush=True)
        print()


if __name__ == "__main__":
    main()
