"""What strategies gain over logistic regression on frozen features: the prior of `advise`, from sets of its own.

    python benchmarks/strategy_gains.py --data ../shared/data --out gains.jsonl

Development sets, none of which is among the four cells of `four_cells.py`: photographs of garments, defects of steel,
handwritten digits (USPS); MobileNetV2 (ImageNet) and a Conv-4 from scratch. A gain is given as a share of the error
that logistic regression leaves: 0.1 means that a tenth of its errors went. What is finished in --out is not computed
again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from advisor import conv4, steel, usps
from four_cells import network

from episodes import EpisodeSampler, ImageSource, TensorSource
from fewshot.transfer.candidate import Setting
from fewshot.transfer.candidates import make_candidates
from fewshot.transfer.negative import baseline_of

SIDE, QUERY = 64, 15
STRATEGIES = ["logistic", "last(1)", "last(3)", "norm", "lora(8)", "lp-ft", "full"]


def garments(data: Path) -> TensorSource:
    """Photographs of ten garments."""
    parts = [ImageSource.from_folder(data / "clothing_small_224" / part, size=SIDE) for part in ("test", "validation")]
    rows = torch.cat([(part[torch.arange(len(part))] * 255).round().to(torch.uint8) for part in parts])
    labels = torch.cat([part.labels for part in parts])
    return TensorSource(rows, labels, parts[0].class_names, name="garments")


def of_frequent_classes(images: TensorSource, least: int) -> TensorSource:
    """The classes with so many rows."""
    kept = (images.labels.bincount() >= least).nonzero().squeeze(1)
    chosen = torch.isin(images.labels, kept).nonzero().squeeze(1)
    labels = torch.searchsorted(kept, images.labels[chosen])
    return TensorSource(images.features[chosen], labels, [images.class_names[c] for c in kept.tolist()],
                        name=images.name)  # fmt: skip


SETS = {"garments": garments, "steel": steel, "usps": usps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", type=Path, required=True, help="file to add to and resume from")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 30], help="rows of each class")
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(one["set"], one["shot"], one["draw"], one["name"]) for one in done}
    pretrained = network(options.data, SIDE)
    pretrained.name = "MobileNetV2"
    for shot in options.shots:
        for name, load in SETS.items():
            images = of_frequent_classes(load(options.data), shot + QUERY)
            way = len(images.class_names)
            for draw in range(options.draws):
                drawn = EpisodeSampler(images.labels, way, shot, QUERY, seed=0, name=images.name).draw(draw, 1)
                support, asked = drawn.support[0], drawn.query[0]
                rows = images.select(torch.cat([support, asked]))
                own, others = torch.arange(len(support)), torch.arange(len(support), len(rows))
                made = make_candidates([pretrained], STRATEGIES) + make_candidates([conv4()], ["logistic", "scratch"])
                trivial = baseline_of("auto", rows)
                for one in [*made, *([trivial] if trivial else [])]:
                    if (name, shot, draw, one.name) in known:
                        continue
                    right = (one.answers(rows, own, others, Setting("cpu")) == rows.labels[others]).double().mean()
                    done.append({"set": name, "shot": shot, "draw": draw, "name": one.name, "right": float(right)})
                    with options.out.open("a") as file:
                        file.write(json.dumps(done[-1]) + "\n")
    show(done)


def show(done: list[dict]) -> None:
    """Accuracy in %, and gain as a share of the error of logistic regression on the same encoder."""
    cells = sorted({(one["shot"], one["set"]) for one in done})
    names = list(dict.fromkeys(one["name"] for one in done))
    print("| | " + " | ".join(f"{name}, {shot}" for shot, name in cells) + " |")
    print("|---|" + "---|" * len(cells))
    for name in names:
        line = []
        for shot, where in cells:
            found = {label: np.mean([one["right"] for one in done
                                     if (one["shot"], one["set"], one["name"]) == (shot, where, label)])
                     for label in (name, f"{name.partition(',')[0]}, logistic")}  # fmt: skip
            value, base = found.values() if len(found) == 2 else (found[name], found[name])
            line.append(f"{100 * value:.1f} ({(value - base) / max(1 - base, 1e-9):+.2f})")
        print(f"| {name} | " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
