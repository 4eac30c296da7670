"""Do the options of `fine_tune` that are said to help on few rows help? Paired, on the same draws.

    python benchmarks/regularisers.py --data ../shared/data --out regularisers.jsonl      # about an hour on one core

Photographs of 10 objects and pictures of 10 spoken digits, 5 rows of each class; MobileNetV2 at 96 pixels, all of it
trained (``full``), with one option at a time. A draw is an episode of all ten classes. Prints the accuracy with each
option, and the paired difference to training without it. What is finished in --out is not computed again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from four_cells import digits, network, objects

from episodes import EpisodeSampler, compare, evaluate
from fewshot.transfer.learner import Tuned

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "swa=0.25": {"swa": 0.25},
    "wise=0.5": {"wise": 0.5},
    "l2_sp=0.1": {"l2_sp": 0.1},
    "mixup=0.2": {"mixup": 0.2},
    "label_smoothing=0.1": {"label_smoothing": 0.1},
    "layer_decay=0.8": {"layer_decay": 0.8},
    "flip | crop(0.6)": {"augment": "flip | crop(0.6)"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", required=True, help="JSON Lines file to add to and resume from")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--query", type=int, default=30, help="scored rows of each class")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the rows")
    options = parser.parse_args()
    encoder = network(options.data)
    learners = {name: Tuned(encoder, "full", epochs=options.epochs, **given) for name, given in OPTIONS.items()}
    sets = [objects(options.data), digits(options.data)]
    samplers = [EpisodeSampler(images.labels, 10, 5, options.query, seed=0, name=images.name) for images in sets]
    for draws in range(1, options.draws + 1):  # one by one, so that little is lost by an interruption
        for images, sampler in zip(sets, samplers, strict=True):
            for name, learner in learners.items():
                evaluate({name: learner}, images, sampler, episodes=draws, out=options.out, progress=False)
            results = evaluate(learners, images, sampler, episodes=draws, out=options.out, progress=False)
            print(f"\n{images.name}, 5 a class, {draws} draws, {options.epochs} epochs")
            for name in learners:
                against = "" if name == "plain" else f"  {compare(results[name], results['plain'])}"
                print(f"  {name:20} {100 * results[name].mean:5.1f}{against}", flush=True)


if __name__ == "__main__":
    main()
