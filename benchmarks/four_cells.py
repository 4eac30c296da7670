"""How much of a network to train: targets near and far from the pretraining, few and many rows, every strategy.

    python benchmarks/four_cells.py --data ../shared/data --out cells.jsonl            # all: hours on one core
    python benchmarks/four_cells.py --data ../shared/data --out quick.jsonl --quick    # about ten minutes
    python benchmarks/four_cells.py --out cells.jsonl --show                           # the tables of what is known

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
from scipy.special import stdtrit
from torch.nn import functional as F

from episodes import EpisodeSampler, ImageSource, TensorSource, compare, evaluate
from episodes.comparison import format_p
from episodes.result import Result
from episodes.results_file import read_lines
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


def network(data: Path, side: int = SIDE) -> Encoder:
    """MobileNetV2, pretrained on ImageNet, for pictures that have their size already."""
    weights = data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    return load_encoder(
        f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, num_classes=1001, pad_type='same', mean=0.5, std=0.5, "
        f"size={side}, crop=1.0)"
    )


def written(values: np.ndarray, sign: str = "") -> str:
    """Mean in %, and half its 95 % interval by Student's t over draws, which takes them for normal."""
    mean = f"{100 * values.mean():{sign}.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5:.1f}"


def tables(path: Path) -> str:
    """What a file holds: accuracy, and paired differences from the head alone, from scratch and from no network.

    p-values are of the exact sign-flip test over draws, which cannot be below 2 / 2^draws.
    """
    cells: dict[tuple[str, int], dict[str, Result]] = {}
    for one in read_lines(path):
        held = cells.setdefault((one.evaluation["dataset"]["name"], one.evaluation["shot"]), {})
        if one.learner not in held or held[one.learner].episodes < one.episodes:
            held[one.learner] = one
    made = []
    for (name, shot), held in cells.items():
        against = [other for other in ("linear-probe", "scratch", "pixels") if other in held]
        made.append(f"| {name}, {shot} a class | accuracy | draws | " + " | ".join(f"- {other}" for other in against)
                    + " |\n" + "|---" * (3 + len(against)) + "|")  # fmt: skip
        for learner in (one for one in [*STRATEGIES, "pixels"] if one in held):
            row = [f"`{learner}`", written(held[learner].scores), str(held[learner].episodes)]
            for other in against:
                if other == learner:
                    row.append("")
                    continue
                common = compare(held[learner], held[other])
                one, two = (held[name].scores[: common.episodes] for name in (learner, other))
                row.append(written(one - two, "+") + (f", {format_p(common.p)}" if common.episodes > 1 else ""))
            made[-1] += "\n| " + " | ".join(row) + " |"
    return "\n\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real data")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file to add to and resume from")
    parser.add_argument("--draws", type=int, nargs="+", default=[5], help="one number, or one for each of --shots")
    parser.add_argument("--query", type=int, default=30, help="scored rows of each class")
    parser.add_argument("--epochs", type=int, help="passes over the rows; by default what fine_tune chooses")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 40], help="rows of each class")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--quick", action="store_true", help="2 draws of 5 a class, 15 epochs, five strategies")
    parser.add_argument("--show", action="store_true", help="compute nothing: print what the file holds")
    options = parser.parse_args()
    if options.show:
        print(tables(options.out))
        return
    if options.data is None:
        parser.error("--data is needed, unless --show")
    if options.quick:
        options.draws, options.query, options.epochs, options.shots = [2], 15, 15, [5]
        options.strategies = QUICK
    draws = options.draws * len(options.shots) if len(options.draws) == 1 else options.draws
    encoder = network(options.data)
    sets = [(images, embed(images, "pixels(size=32)", progress=False))
            for images in (objects(options.data), digits(options.data))]  # fmt: skip
    learners = {name: Tuned(encoder, name, epochs=options.epochs) for name in options.strategies}
    learners["pixels"] = load_learner("cl2n | logistic(C=10.0)")
    for shot, count in zip(options.shots, draws, strict=True):
        for draw in range(1, count + 1):  # one by one, so that little is lost by an interruption
            for images, pixels in sets:
                sampler = EpisodeSampler(images.labels, 10, shot, options.query, seed=0, name=images.name)
                for name, learner in learners.items():
                    evaluate({name: learner}, {"images": images, "features": pixels}, sampler, episodes=draw,
                             out=options.out, progress=False)  # fmt: skip
    print(tables(options.out))


if __name__ == "__main__":
    main()
