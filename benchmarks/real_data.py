"""The table of the README: learners on real features, 5-way 1- and 5-shot, with intervals.

    python benchmarks/real_data.py --data ../shared/data

Reads pixels of Omniglot drawings (242 characters), MobileNetV2 features of clothing photographs, and CLIP ViT-B/32
features of Caltech-101, Oxford Flowers and DTD textures. The folder's README says where they come from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from episodes import EpisodeSampler, Results, TensorSource, evaluate

LEARNERS = ["prototypes", "l2 | prototypes", "l2 | nearest", "l2 | ridge(alpha=0.1)", "l2 | logistic(C=10.0)"]


def sources(folder: Path) -> list[TensorSource]:
    """All datasets as features."""
    with np.load(folder / "omniglot" / "omniglot28.npz") as data:
        ink = data["X"].reshape(len(data["X"]), -1).astype(np.float32)
        drawings = TensorSource(ink / ink.max(), data["y"], name="omniglot pixels")
    with np.load(folder / "mobilenet_features" / "clothing_testval.npz") as data:
        keys = {key.lower(): key for key in data.files}
        rows, labels = data[keys.get("x", "test_X")], data[keys.get("y", "test_y")]
        garments = TensorSource(rows.astype(np.float32), labels, name="clothing")
    clip = []
    for name in ("caltech101", "oxford_flowers", "dtd"):
        file = next((folder / "clip_vitb32").glob(f"*{name.split('_')[-1]}*.npz"))
        with np.load(file) as data:
            clip.append(TensorSource(data["test_X"].astype(np.float32), data["test_y"], name=f"{name} CLIP"))
    return [drawings, garments, *clip]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--out", help="JSON Lines file to add to and resume from")
    options = parser.parse_args()
    for source in sources(options.data):
        results = Results()
        for shot in (1, 5):
            sampler = EpisodeSampler(source.labels, 5, shot, 15, seed=0, name=source.name)
            results += evaluate(LEARNERS, source, sampler, episodes=options.episodes, out=options.out)
        print(f"{source.name}: {len(source):,} rows, {len(source.class_names)} classes\n{results}\n")


if __name__ == "__main__":
    main()
