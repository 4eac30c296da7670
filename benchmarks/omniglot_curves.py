"""Two pictures of the minimal setting: accuracy while training, and accuracy against steps of the inner loop.

    python benchmarks/omniglot_curves.py --data ../shared/data --models work --out docs/omniglot.svg

Left: validation on the seventh alphabet, 1-shot, as `omniglot_minimal.py train` logged it. Right: 5-way 1-shot on the
held-out alphabet, the trained weights adapting by more and fewer steps than in training (the vertical tick).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from omniglot_minimal import SETTINGS, TEST, read

from episodes import EpisodeSampler, TensorSource, evaluate
from fewshot import load_learner
from fewshot.learners import MAML
from fewshot.meta import load_weights

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#7F3C8D", "#A5AA99")
STEPS = (0, 1, 2, 3, 5, 7, 10, 15, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=500)
    options = parser.parse_args()
    rcParams["svg.hashsalt"] = "omniglot"  # the same numbers make the same file
    figure = Figure(figsize=(13, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, 3)
    folders = [path for path in sorted(options.models.iterdir()) if (path / "log.jsonl").exists()]
    for axes, way in zip(panels[:2], (20, 5), strict=True):
        mine = [path for path in folders if path.name in SETTINGS and SETTINGS[path.name][1] == way]
        for colour, path in zip(COLOURS, mine, strict=False):
            log = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
            line = [(entry["step"], 100 * entry["validation"]) for entry in log if "validation" in entry]
            axes.plot(*zip(*line, strict=True), color=colour, marker="o", markersize=3, linewidth=1.5, label=path.name)
        axes.set_title(f"while training: {way}-way 1-shot on the validation alphabet", fontsize=10, loc="left")
        axes.set_xlabel("updates of the weights")
    ink, labels, alphabets, _ = read(options.data)
    held = alphabets == TEST
    source = TensorSource(ink[held], np.unique(labels[held], return_inverse=True)[1], name="held-out alphabet")
    sampler = EpisodeSampler(source.labels, 5, 1, 5, seed=3)
    for colour, path in zip(
        COLOURS, [path for path in folders if path.name in ("anil", "maml", "proto-maml")], strict=False
    ):
        learner = load_weights(load_learner(SETTINGS[path.name][0]), path / "best.safetensors")
        assert isinstance(learner, MAML)
        results = {}
        for steps in STEPS:
            learner.test_steps = steps
            found = evaluate({path.name: learner}, source, sampler, episodes=options.episodes)[path.name]
            results[steps] = found
            print(f"{path.name}, {steps} steps: {100 * found.mean:.1f} ± {100 * found.ci95:.1f}", flush=True)
        mean, spread = (
            np.array([100 * getattr(result, part) for result in results.values()]) for part in ("mean", "ci95")
        )
        panels[2].fill_between(STEPS, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
        panels[2].plot(STEPS, mean, color=colour, marker="o", markersize=3, linewidth=1.5, label=path.name)
        panels[2].plot([learner.steps], [mean[STEPS.index(learner.steps)]], color="black", marker="|", markersize=14)
    panels[2].set_title("adapting: 5-way 1-shot on the held-out alphabet", fontsize=10, loc="left")
    panels[2].set_xticks([0, 5, 10, 15, 20])
    panels[2].set_xlabel("steps of the inner loop at test time")
    for axes in panels:
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    panels[0].set_ylabel("accuracy in %")
    figure.savefig(options.out, metadata={"Date": None} if options.out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
