"""How much of a network to train: targets near and far from the pretraining, few and many rows, every strategy.

    python benchmarks/four_cells.py --data ../shared/data --out cells.jsonl            # all: hours on one core
    python benchmarks/four_cells.py --data ../shared/data --out quick.jsonl --quick    # about ten minutes

Photographs of 10 objects (near) and pictures of 10 spoken digits (far), 5 and 40 rows a class; MobileNetV2, pretrained
on ImageNet, at 96 pixels. A draw is an episode of all ten classes: its support is tuned on, its query scored, and all
strategies are scored on the same draws, so that differences are paired. The last line of each cell is logistic
regression on plain pixels: where it wins, the pretrained network does harm. What is finished in --out is not computed
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from episodes import EpisodeSampler, ImageSource, TensorSource, compare, evaluate
from fewshot import embed, load_encoder
from fewshot.encoders import Encoder
from fewshot.learners import load_learner
from fewshot.transfer.learner import Tuned

SIDE = 96
STRATEGIES = ["linear-probe", "last(1)", "last(2)", "last(3)", "norm", "bias", "lora(8)", "gradual", "lp-ft", "full",
              "scratch"]  # fmt: skip
QUICK = ["linear-probe", "last(1)", "last(3)", "full", "scratch"]


def objects(data: Path) -> TensorSource:
    """Caltech-10 photographs as 8-bit pictures."""
    folder = data / "transfer" / "office_caltech10" / "images224" / "caltech10"
    pictures = ImageSource.from_folder(folder, size=SIDE, name="objects")
    rows = (pictures[torch.arange(len(pictures))] * 255).round().to(torch.uint8)
    return TensorSource(rows, pictures.labels, pictures.class_names, name="objects")


def digits(data: Path) -> TensorSource:
    """Log-mel pictures of spoken digits."""
    with np.load(data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        rows, labels = torch.from_numpy(file["X"]).float().unsqueeze(1), file["y"]
    rows = F.interpolate(rows, (SIDE, SIDE), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    return TensorSource(rows.round().to(torch.uint8).contiguous(), labels, name="spoken digits")


def network(data: Path) -> Encoder:
    """MobileNetV2, pretrained on ImageNet, for pictures that have their size already."""
    weights = data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    return load_encoder(
        f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, num_classes=1001, pad_type='same', mean=0.5, std=0.5, "
        f"size={SIDE}, crop=1.0)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", required=True, help="JSON Lines file to add to and resume from")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--query", type=int, default=30, help="scored rows of each class")
    parser.add_argument("--epochs", type=int, help="passes over the rows; by default what fine_tune chooses")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 40], help="rows of each class")
    parser.add_argument("--quick", action="store_true", help="2 draws of 5 a class, 15 epochs, five strategies")
    options = parser.parse_args()
    if options.quick:
        options.draws, options.query, options.epochs, options.shots = 2, 15, 15, [5]
    encoder = network(options.data)
    chosen = QUICK if options.quick else STRATEGIES
    for images in (objects(options.data), digits(options.data)):
        pixels = embed(images, "pixels(size=32)", progress=False)
        for shot in options.shots:
            learners = {name: Tuned(encoder, name, epochs=options.epochs) for name in chosen}
            learners["pixels"] = load_learner("cl2n | logistic(C=10.0)")
            sampler = EpisodeSampler(images.labels, 10, shot, options.query, seed=0, name=images.name)
            sources = {"images": images, "features": pixels}
            for draws in range(1, options.draws + 1):  # one by one, so that little is lost by an interruption
                for name, learner in learners.items():
                    evaluate({name: learner}, sources, sampler, episodes=draws, out=options.out, progress=False)
            results = evaluate(learners, sources, sampler, episodes=options.draws, out=options.out)
            print(f"\n{images.name}, {shot} a class, {options.draws} draws\n{results}")
            best = max((name for name in chosen), key=lambda name: results[name].mean)
            for other in ("scratch", "pixels"):
                print(f"{best} - {other}: {compare(results[best], results[other])}")


if __name__ == "__main__":
    main()
