"""A meta-training step of MAML against learn2learn's, one thread, in the same run.

    python benchmarks/meta_speed.py

Conv-4 on 28 x 28 drawings, 5-way 1-shot, 32 tasks a step, 1 and 5 inner steps, first and second order; and a linear
head on 640 cached features, 32 tasks, 1, 5 and 10 steps. Same weights, same tasks; medians of alternating pairs.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
import warnings
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn import functional as F

from episodes import Episode
from fewshot.learners import MAML

TASKS, WAY, QUERY = 32, 5, 15


def tasks(item_shape: tuple[int, ...]) -> tuple[Episode, torch.Tensor]:
    """Random 5-way 1-shot tasks with 15 queries per class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(TASKS, WAY * (1 + QUERY), *item_shape, generator=generator)
    labels, targets = torch.arange(WAY).expand(TASKS, -1), torch.arange(WAY).repeat_interleave(QUERY).expand(TASKS, -1)
    return Episode(rows[:, :WAY], labels, rows[:, WAY:], WAY), targets


def pair(learner: MAML, episode: Episode, targets: torch.Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """One meta-step of ours, and one of theirs."""
    import learn2learn

    theirs = learn2learn.algorithms.MAML(
        copy.deepcopy(learner.network), lr=learner.rate, first_order=learner.first_order
    )

    def ours() -> None:
        learner.zero_grad()
        size = (
            TASKS if learner._head_only() else 1
        )  # as meta_train(batch=1, accumulate=32) does: less memory, no less work
        for first in range(0, TASKS, size):
            part = slice(first, first + size)
            loss = F.cross_entropy(learner(episode[part]).flatten(0, 1), targets[part].flatten())
            (loss * size / TASKS).backward()

    def peer() -> None:
        theirs.zero_grad()
        for e in range(TASKS):
            clone = theirs.clone()
            for _ in range(learner.steps):
                clone.adapt(F.cross_entropy(clone(episode.support[e]), episode.labels[e]))
            (F.cross_entropy(clone(episode.query[e]), targets[e]) / TASKS).backward()

    return ours, peer


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
    print("| learner | inner steps | ours, ms | learn2learn, ms | ratio |\n|---|---|---|---|---|")
    cases = [("Conv-4 (32 channels, group norm)", "conv4(norm='group', channels=32)", (1, 28, 28), 1, False),
             ("Conv-4 (32 channels, group norm)", "conv4(norm='group', channels=32)", (1, 28, 28), 5, False),
             ("Conv-4, first order", "conv4(norm='group', channels=32)", (1, 28, 28), 5, True),
             *(("linear head, 640 features", "linear", (640,), steps, False) for steps in (1, 5, 10))]  # fmt: skip
    for name, net, shape, steps, first in cases:
        torch.random.manual_seed(0)
        learner = MAML(net, WAY, shape, steps=steps, rate=0.1, first_order=first).train()
        episode, targets = tasks(shape)
        ours, peer = pair(learner, episode, targets)
        ours(), peer()
        few = options.rounds if len(shape) == 3 else 10 * options.rounds
        times = [(timed(ours), timed(peer)) for _ in range(few)]
        ratio = median(b / a for a, b in times)
        mine, theirs = (1e3 * median(column) for column in zip(*times, strict=True))
        print(f"| {name} | {steps} | {mine:.1f} | {theirs:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
