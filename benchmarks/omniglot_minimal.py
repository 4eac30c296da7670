"""Omniglot in the minimal setting: trained on the small background sets, tested on held-out alphabets and Lake's runs.

    python benchmarks/omniglot_minimal.py train --data ../shared/data --out work/protonet
    python benchmarks/omniglot_minimal.py table --data ../shared/data --models work

`train` learns from six of the eight alphabets (each character turned by 0, 90, 180 and 270 degrees makes four classes,
drawings shaken by small affine maps), chooses the best weights on a seventh, and never sees the eighth; `--all` takes
all eight for Lake's twenty official one-shot runs, whose alphabets are none of them. `table` evaluates what it finds:
episodes on the held-out alphabet, and the error on the runs (people under 4.5 %; published for the minimal setting by
Lake, Salakhutdinov and Tenenbaum 2019: ProtoNet 30.1 %, ConvNet 23.2 %, BPL 4.2 %).
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from episodes import Episode, EpisodeSampler, TensorSource, evaluate
from episodes.sign_flip import sign_flip_test
from episodes.statistics import holm, mean_interval
from fewshot import load_learner, meta_train
from fewshot.meta import load_weights, pretrain
from fewshot.nets.front import NetFront
from fewshot.transforms import Pipeline

TEST, VALIDATION = 4, 2  # alphabets: 40 and 24 characters
TASKS = ((5, 1), (5, 5), (20, 1), (20, 5))
_NET = "net=\"conv4(norm='task', channels=32, stride=2)\""
SETTINGS = {  # learner, way and shot of training, rate
    "protonet": ("conv4 | prototypes(scale=0.1)", 20, 5, 1e-3),
    "relation": ("conv4 | relation", 20, 1, 1e-3),
    "r2d2": ("conv4 | r2d2", 20, 1, 1e-3),
    "maml": (f"maml({_NET}, way=5, steps=3, lr=0.4)", 5, 1, 1e-3),
    "anil": (f"anil({_NET}, way=5, steps=5, lr=0.1)", 5, 1, 1e-3),
    "proto-maml": (f"proto-maml({_NET}, way=5, steps=2, lr=0.01)", 5, 1, 1e-3),
    "maml-20": (f"maml({_NET}, way=20, steps=3, lr=0.4)", 20, 1, 1e-3),
    "anil-20": (f"anil({_NET}, way=20, steps=5, lr=0.1)", 20, 1, 1e-3),
    "baseline": ("conv4 | prototypes(distance='cosine')", 20, 1, 1e-3),  # trained by plain classification
    "matching": ("conv4 | matching(scale=10.0, centred=False, means=0.0)", 20, 1, 1e-3),
    "metaoptnet": ("conv4 | metaoptnet", 20, 1, 1e-3),
    "feat": ("conv4 | feat(scale=0.1)", 20, 1, 1e-3),
}  # fmt: skip


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Ink in 0..1 ``[M, 1, 28, 28]``, character and alphabet of each drawing, and Lake's runs."""
    with np.load(folder / "omniglot" / "omniglot28.npz") as file:
        ink = 1 - file["X"].astype(np.float32)[:, None] / 255
        runs = {name: file[name] for name in ("lake_train", "lake_test", "lake_label")}
        return ink, file["y"], file["class_alphabet"][file["y"]], runs


def turned(ink: np.ndarray, labels: np.ndarray) -> TensorSource:
    """Each character four times, turned by quarter circles, as classes of their own."""
    rows = np.concatenate([np.rot90(ink, turn, axes=(2, 3)) for turn in range(4)])
    numbers = np.unique(labels, return_inverse=True)[1]
    return TensorSource(np.ascontiguousarray(rows), np.concatenate([4 * numbers + turn for turn in range(4)]))


def shaken(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Small random affine maps of every drawing: 12 degrees, 12 % of size and of place, some shear."""
    flat = rows.flatten(0, 1)
    numbers = 2 * torch.rand(len(flat), 6, generator=generator) - 1
    angle, scale = numbers[:, 0] * (math.pi / 15), torch.exp(0.12 * numbers[:, 1:3])
    shear, move = 0.15 * numbers[:, 3], 0.12 * numbers[:, 4:]
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack([
        torch.stack([scale[:, 0] * cos, scale[:, 0] * (shear * cos - sin), move[:, 0]], -1),
        torch.stack([scale[:, 1] * sin, scale[:, 1] * (shear * sin + cos), move[:, 1]], -1),
    ], 1).to(flat)  # fmt: skip
    grid = F.affine_grid(maps, list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, align_corners=False).view(rows.shape)


def lake(learner: torch.nn.Module, runs: dict[str, np.ndarray]) -> np.ndarray:
    """Accuracy of each of the twenty 20-way runs."""

    def ink(name: str) -> Tensor:
        return torch.from_numpy(1 - runs[name].astype(np.float32) / 255).unsqueeze(2)  # [20, 20, 1, 28, 28]

    labels = torch.from_numpy(runs["lake_label"])
    classes = torch.arange(20).expand(20, -1)
    with torch.no_grad():
        logits = learner(Episode(ink("lake_train"), classes, ink("lake_test"), 20, ids=torch.arange(20)))
    return (logits.argmax(-1) == labels).float().mean(1).numpy()


def train(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    ink, labels, alphabets, runs = read(options.data)
    spec, way, shot, rate = SETTINGS[options.learner]
    learned = np.ones(len(labels), bool) if options.all else (alphabets != TEST) & (alphabets != VALIDATION)
    watched = alphabets == VALIDATION
    drawings = {row.tobytes() for row in (ink[learned] * 255).astype(np.uint8)}
    lakes = 255 - np.concatenate([runs["lake_train"], runs["lake_test"]]).reshape(-1, 28, 28)
    assert not drawings & {row.tobytes() for row in lakes}, "a drawing of Lake's runs is among those to train on"
    if not options.all:
        assert not set(alphabets[learned]) & {TEST, VALIDATION}, "a held-out alphabet is among those to train on"
    source = turned(ink[learned], labels[learned])
    sampler = EpisodeSampler(source.labels, way, shot if options.shot is None else options.shot, 5, seed=1)
    held = TensorSource(ink[watched], np.unique(labels[watched], return_inverse=True)[1])
    validation = None if options.all else (held, EpisodeSampler(held.labels, way, 1, 5, seed=2))
    begin = time.process_time()
    common: dict[str, Any] = {
        "lr": options.rate or rate, "schedule": "cosine", "clip": 10.0, "validation": validation,
        "validation_episodes": 100, "every": options.every, "out": options.out, "augment": shaken,
        "callbacks": [lambda report: print({k: round(float(v), 4) for k, v in report.items()}, flush=True)],
    }  # fmt: skip
    if options.learner == "baseline":
        epochs = max(1, options.steps * 64 // len(source.labels))
        training = pretrain(spec, source, epochs=epochs, batch=64, **common)
    else:
        training = meta_train(spec, source, sampler, steps=options.steps, batch=options.batch, **common)
    print(f"{time.process_time() - begin:.0f} CPU-seconds, best {training.best} at step {training.best_step}")


def table(options: argparse.Namespace) -> None:
    ink, labels, alphabets, runs = read(options.data)
    held = (alphabets == TEST) | options.whole
    source = TensorSource(ink[held], np.unique(labels[held], return_inverse=True)[1], name="held-out alphabet")
    learners: dict[str, torch.nn.Module] = {"raw pixels, nearest mean": _pixels()}
    if options.published:
        from omniglot_checkpoints import published

        learners |= published(options.data / "fewshot_ckpts")
    for folder in sorted(path for path in options.models.iterdir() if (path / "last.safetensors").exists()):
        name = folder.name.removesuffix("-all")
        best = folder / "best.safetensors"
        learners[folder.name] = load_weights(
            load_learner(SETTINGS[name][0]), best if best.exists() else folder / "last.safetensors"
        )
    print("| learner | 5-way 1-shot | 5-way 5-shot | 20-way 1-shot | 20-way 5-shot | Lake's runs, error |")
    print("|---" * 6 + "|")
    accuracies: dict[str, dict[tuple[int, int], np.ndarray]] = {}
    for name, learner in learners.items():
        learner.eval()
        fixed = None if getattr(learner, "any_way", True) else learner.way
        tasks = [task for task in TASKS if fixed in (None, task[0]) and not name.endswith("-all")]
        accuracies[name] = {task: accuracy_of(learner, source, *task, options.episodes) for task in tasks}
        cells = [_interval(accuracies[name].get(task)) for task in TASKS]
        cells.append(_interval(1 - lake(learner, runs) if fixed in (None, 20) else None))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    against(accuracies, "raw pixels, nearest mean")
    against(accuracies, "protonet")


def accuracy_of(learner: torch.nn.Module, source: TensorSource, way: int, shot: int, episodes: int) -> np.ndarray:
    """Accuracy of each episode; all learners get the same."""
    sampler = EpisodeSampler(source.labels, way, shot, 5, seed=3)
    rows, head = source, learner
    if isinstance(learner, Pipeline) and isinstance(learner.transforms[0], NetFront):
        # A fixed encoder: every drawing goes through it once, not once per episode.
        with torch.no_grad():
            rows = TensorSource(learner.transforms[0].net(source.features), source.labels)
        head = Pipeline(learner.transforms[1:], learner.learner) if len(learner.transforms) > 1 else learner.learner
    return evaluate({"learner": head}, rows, sampler, episodes=episodes, progress=False)["learner"].scores


def against(accuracies: dict[str, dict[tuple[int, int], np.ndarray]], other: str) -> None:
    """Paired differences to one of the learners, exact sign-flip tests, Holm's correction over the whole table."""
    if other not in accuracies:
        return
    pairs = {
        (name, task): scores - accuracies[other][task]
        for name, row in accuracies.items() if name != other
        for task, scores in row.items() if task in accuracies[other]
    }  # fmt: skip
    p_values = dict(zip(pairs, holm([sign_flip_test(pair) for pair in pairs.values()]), strict=True))
    print(f"\n| minus {other} | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in TASKS) + " |")
    print("|---" * 5 + "|")
    for name in dict.fromkeys(name for name, _ in pairs):
        cells = []
        for task in TASKS:
            pair, p = pairs.get((name, task)), p_values.get((name, task), 1.0)
            sign = " *" if p < 0.001 else ""
            cells.append("" if pair is None else f"{100 * pair.mean():+.1f} ± {100 * mean_interval(pair):.1f}{sign}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n* p < 0.001 by the sign-flip test, after Holm's correction", flush=True)


def _interval(scores: np.ndarray | None) -> str:
    return "" if scores is None else f"{100 * scores.mean():.1f} ± {100 * mean_interval(scores):.1f}"


class _pixels(torch.nn.Module):
    def forward(self, episode: Episode) -> Tensor:
        flat = episode.replace(support=episode.support.flatten(2), query=episode.query.flatten(2))
        return load_learner("prototypes")(flat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first, second = verbs.add_parser("train"), verbs.add_parser("table")
    for each in (first, second):
        each.add_argument("--data", type=Path, required=True, help="folder with the real data")
    first.add_argument("--learner", choices=SETTINGS, default="protonet")
    first.add_argument("--out", type=Path, required=True)
    first.add_argument("--steps", type=int, default=3000)
    first.add_argument("--batch", type=int, default=1)
    first.add_argument("--shot", type=int)
    first.add_argument("--rate", type=float)
    first.add_argument("--every", type=int, default=500)
    first.add_argument("--threads", type=int, default=1)
    first.add_argument("--all", action="store_true", help="all eight alphabets, the last weights: for Lake's runs")
    second.add_argument("--models", type=Path, required=True, help="folder of folders that train wrote")
    second.add_argument("--whole", action="store_true", help="episodes over all characters: for --published only")
    second.add_argument("--published", action="store_true", help="also two models from their authors' weight files")
    second.add_argument("--episodes", type=int, default=1000)
    options = parser.parse_args()
    train(options) if options.verb == "train" else table(options)


if __name__ == "__main__":
    main()
