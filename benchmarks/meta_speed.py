"""A meta-training step of MAML against learn2learn's, one thread, in the same run.

    python benchmarks/meta_speed.py

Conv-4 on 28 x 28 drawings, 5-way 1-shot, 32 tasks a step, 1 and 5 inner steps, first and second order; and a linear
head on 640 cached features, 32 tasks, 1, 5 and 10 steps. Same weights, same tasks; medians of alternating rounds.
learn2learn runs twice: with the layers as torch has them, and with our net, which orders pictures by pixels
(channels last). All of it without glibc's habit of handing memory back to the system after each step, which costs every
side time, and not evenly: set MALLOC_TRIM_THRESHOLD_ for your own trainings on a CPU, too.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

HOW = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
if any(os.environ.get(name) != value for name, value in HOW.items()):  # read when a process begins
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **HOW})

import torch
from torch import nn
from torch.nn import functional as F

from episodes import Episode
from fewshot.learners import MAML
from fewshot.nets.conv4 import Conv4

TASKS, WAY, QUERY = 32, 5, 15


def tasks(item_shape: tuple[int, ...]) -> tuple[Episode, torch.Tensor]:
    """Random 5-way 1-shot tasks with 15 queries per class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(TASKS, WAY * (1 + QUERY), *item_shape, generator=generator)
    labels, targets = torch.arange(WAY).expand(TASKS, -1), torch.arange(WAY).repeat_interleave(QUERY).expand(TASKS, -1)
    return Episode(rows[:, :WAY], labels, rows[:, WAY:], WAY), targets


def plain(learner: MAML) -> nn.Module:
    """The same layers with the same weights, one after the other."""
    body = learner.network.body
    layers = copy.deepcopy(list(body.layers)) if isinstance(body, Conv4) else []
    return nn.Sequential(*layers, nn.Flatten(), copy.deepcopy(learner.network.head))


def contestants(learner: MAML, episode: Episode, targets: torch.Tensor) -> list[Callable[[], None]]:
    """One meta-step of ours, one of theirs with plain layers, and one of theirs with our net."""
    import learn2learn

    def ours() -> None:
        learner.zero_grad()
        size = (
            TASKS if learner._head_only() else 1
        )  # as meta_train(batch=1, accumulate=32) does: less memory, no less work
        for first in range(0, TASKS, size):
            part = slice(first, first + size)
            loss = F.cross_entropy(learner(episode[part]).flatten(0, 1), targets[part].flatten())
            (loss * size / TASKS).backward()

    def peer(net: nn.Module) -> None:
        theirs = learn2learn.algorithms.MAML(net, lr=learner.lr, first_order=learner.first_order)
        theirs.zero_grad()
        for e in range(TASKS):
            clone = theirs.clone()
            for _ in range(learner.steps):
                clone.adapt(F.cross_entropy(clone(episode.support[e]), episode.labels[e]))
            (F.cross_entropy(clone(episode.query[e]), targets[e]) / TASKS).backward()

    return [ours, partial(peer, plain(learner)), partial(peer, copy.deepcopy(learner.network))]


def timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| learner | inner steps | ours, ms | learn2learn, ms | ratio | learn2learn with our net, ms | ratio |")
    print("|---" * 7 + "|")
    cases = [("Conv-4 (32 channels, group norm)", "conv4(norm='group', channels=32)", (1, 28, 28), 1, False),
             ("Conv-4 (32 channels, group norm)", "conv4(norm='group', channels=32)", (1, 28, 28), 5, False),
             ("Conv-4, first order", "conv4(norm='group', channels=32)", (1, 28, 28), 5, True),
             *(("linear head, 640 features", "linear", (640,), steps, False) for steps in (1, 5, 10))]  # fmt: skip
    for name, net, shape, steps, first in cases:
        torch.random.manual_seed(0)
        learner = MAML(net, WAY, shape, steps=steps, lr=0.1, first_order=first).train()
        episode, targets = tasks(shape)
        each = contestants(learner, episode, targets)
        for work in each:
            work()
        few = options.rounds if len(shape) == 3 else 10 * options.rounds
        times = [[timed(work) for work in each] for _ in range(few)]
        mine, theirs, mixed = (1e3 * median(column) for column in zip(*times, strict=True))
        ratios = [median(row[k] / row[0] for row in times) for k in (1, 2)]
        print(
            f"| {name} | {steps} | {mine:.1f} | {theirs:.1f} | {ratios[0]:.2f} | {mixed:.1f} | {ratios[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
