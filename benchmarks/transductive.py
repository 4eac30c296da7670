"""Transductive learners on balanced and on Dirichlet queries of real features: who gains, and who pays.

    python benchmarks/transductive.py --data ../shared/data --out transductive.jsonl

5-way, 75 queries an episode, CLIP ViT-B/32 features of three datasets, centred by the mean of ImageNet features (no
class of these datasets is used), of length one. Under Dirichlet(2) the shares of the classes among the queries vary, as
in Veilleux et al. 2021; the classes and the supports are the same. All learners with their published hyper-parameters
for each number of shots, none chosen here, but for those called default. Differences from SimpleShot are paired.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from episodes import DirichletSampler, EpisodeSampler, TensorSource, compare, evaluate
from fewshot import load_learner

LEARNERS = {
    "SimpleShot": ("prototypes", "prototypes"),
    "BD-CSPN": ("bd-cspn", "bd-cspn"),
    "LaplacianShot": (
        "laplacian-shot(regularisation=0.7, rectify=True)",
        "laplacian-shot(regularisation=0.1, rectify=True)",
    ),
    "PT-MAP": 2 * ("pt-map(steps=20, lr=0.2, tightness=None, means=0.0)",),
    "PT-MAP, default": 2 * ("pt-map",),
    "TIM-ADM": 2 * ("tim-adm(scale=15.0)",),
    "TIM-GD": 2 * ("tim(steps=1000, lr=1e-4, scale=15.0, cross_entropy=0.1)",),
    "α-TIM": 2 * ("alpha-tim(alpha='auto', steps=1000, lr=1e-4, scale=15.0, cross_entropy=1.0)",),
}
QUERY = 15


def sources(folder: Path) -> tuple[dict[str, TensorSource], TensorSource]:
    """The three datasets, and the rows whose mean centres them."""
    datasets = {}
    for name in ("dtd", "caltech101", "oxford_flowers"):
        with np.load(folder / "clip_vitb32" / f"{name}.npz") as file:
            rows = np.concatenate([file["test_X"], file["val_X"]]).astype(np.float32)
            labels = np.concatenate([file["test_y"], file["val_y"]])
        datasets[name] = TensorSource(rows, labels, name=f"{name} CLIP")
    with np.load(folder / "clip_vitb32" / "imagenet.npz") as file:
        keys = [key for key in file.files if key.endswith("_X")]
        base = np.concatenate([file[key].astype(np.float32) for key in keys])
    return datasets, TensorSource(base, np.zeros(len(base), np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--out", help="JSON Lines file to add to and resume from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    datasets, base = sources(options.data)
    print("| features | shots | learner | balanced | Dirichlet(2) | change | against SimpleShot, Dirichlet |")
    print("|---|---|---|---|---|---|---|")
    for dataset, source in datasets.items():
        for position, shot in enumerate((1, 5)):
            learners = {name: load_learner(f"cl2n | {specs[position]}").fit(base) for name, specs in LEARNERS.items()}
            results = {
                kind: evaluate(learners, source, kind(source.labels, 5, shot, QUERY, seed=0, name=source.name),
                               episodes=options.episodes, out=options.out)
                for kind in (EpisodeSampler, DirichletSampler)
            }  # fmt: skip
            even, uneven = results[EpisodeSampler], results[DirichletSampler]
            for name in LEARNERS:
                pair = ""
                if name != "SimpleShot":
                    found = compare(uneven[name], uneven["SimpleShot"])
                    pair = f"{100 * found.difference:+.1f} ± {100 * found.ci95:.1f}, p = {found.p_value:.2g}"
                a, b = even[name], uneven[name]
                print(f"| {dataset} | {shot} | {name} | {100 * a.mean:.1f} ± {100 * a.ci95:.1f} | {100 * b.mean:.1f} ± "
                      f"{100 * b.ci95:.1f} | {100 * (b.mean - a.mean):+.1f} | {pair} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
