"""How much faster the last stages train when what comes before them is computed once, and what cached views cost.

    python benchmarks/frozen_prefix.py --data ../shared/data                             # seconds of an epoch
    python benchmarks/frozen_prefix.py --data ../shared/data --accuracy views.jsonl      # accuracy by number of views

MobileNetV2 at 96 pixels on 100 photographs of 10 objects, batches of 25. The first prints seconds of an epoch that
trains the whole network, and for the last stages with the prefix computed anew and cached, how many times faster
the latter is than each, and the largest difference of a loss; then the same for augmented rows, anew in each epoch or
of 4 cached views. All variants take turns in one run; figures are medians. Epochs that fill the cache are left out.
The second compares accuracy in paired draws; what is finished in its file is not computed again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from four_cells import network, objects

from episodes import EpisodeSampler, compare, evaluate
from fewshot import fine_tune
from fewshot.transfer.learner import Tuned

AUGMENT = "flip | crop(0.6)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--epochs", type=int, default=3, help="of a turn, beside the first")
    parser.add_argument("--turns", type=int, default=3, help="of each variant, one after the other")
    parser.add_argument("--last", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--accuracy", metavar="FILE", help="JSON Lines file to add to and resume from")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 20], help="of --accuracy: rows of each class")
    parser.add_argument("--draws", type=int, default=5, help="of --accuracy")
    parser.add_argument("--strategy", default="last(1)", help="of --accuracy")
    options = parser.parse_args()
    source, encoder = objects(options.data), network(options.data)
    if options.accuracy:
        accuracy(source, encoder, options)
        return
    rows = torch.cat([(source.labels == label).nonzero().flatten()[:10] for label in range(10)])
    speed(source.select(rows), encoder, options)


def speed(source: Any, encoder: Any, options: argparse.Namespace) -> None:
    """Seconds of an epoch, whole and cached."""
    variants: dict[Any, dict[str, Any]] = {"full": {"strategy": "full", "prefix": False}}
    for count in options.last:
        for cached in (False, True):
            shared = {"strategy": f"last({count})", "prefix": cached}
            variants[count, cached, False] = shared
            views = {"augment": AUGMENT, "views": 4 if cached else 0}
            variants[count, cached, True] = {**shared, **views, "prefix": "auto"}
    seconds: dict[Any, list[float]] = {name: [] for name in variants}
    losses, shapes = {}, {}
    for _ in range(options.turns):
        for name, how in variants.items():
            # of views, the first epochs fill the cache
            first = 4 if how.get("views") else 1
            each, losses[name], plan = _epochs(encoder, source, options.epochs, first, **how)
            seconds[name] += each
            shapes[name] = plan.phases[0].lines[plan.phases[0].first - 1].shape
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"full: {middle['full']:.2f} s an epoch; medians of {options.turns * options.epochs} epochs")
    print("stages   augmented   anew  cached  than full  than anew  losses differ by  activations/row")
    for count in options.last:
        for augmented in (False, True):
            anew, cached = middle[count, False, augmented], middle[count, True, augmented]
            pairs = zip(losses[count, False, False], losses[count, True, False], strict=True)
            gap = "" if augmented else f"{max(abs(one - other) for one, other in pairs):.1e}"
            print(
                f"last({count})  {'4 views' if augmented else 'no':9}  {anew:5.2f}  {cached:6.3f}  "
                f"{middle['full'] / cached:9.1f}  {anew / cached:9.1f}  {gap:>16}  {shapes[count, True, augmented]}"
            )


def _epochs(
    encoder: Any, source: Any, epochs: int, first: int, strategy: str, **how: Any
) -> tuple[list[float], list[float], Any]:
    """Seconds of each epoch after the first ones, the losses and the plan."""
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as cache:
        tuned = fine_tune(
            encoder, source, strategy, epochs=epochs + first, batch_size=25, cache=cache,
            callbacks=[lambda report: moments.append(time.perf_counter())], progress=False, **how,
        )  # fmt: skip
    each = [after - before for before, after in zip(moments[first - 1 :], moments[first:], strict=False)]
    return each, [report["loss"] for report in tuned.history[0]], tuned.plan


def accuracy(source: Any, encoder: Any, options: argparse.Namespace) -> None:
    """Accuracy without augmentation, with V cached views, and with augmentation anew in each epoch."""
    given: dict[str, dict[str, Any]] = {"not augmented": {}, "anew": {"augment": AUGMENT}}
    given |= {f"{views} views": {"augment": AUGMENT, "views": views} for views in (1, 4, 8)}
    learners = {name: Tuned(encoder, options.strategy, epochs=25, **how) for name, how in given.items()}
    for draws in range(1, options.draws + 1):  # one by one, so that little is lost by an interruption
        for shot in options.shots:
            sampler = EpisodeSampler(source.labels, 10, shot, 30, seed=0, name=source.name)
            for name, learner in learners.items():
                evaluate({name: learner}, source, sampler, episodes=draws, out=options.accuracy, progress=False)
            results = evaluate(learners, source, sampler, episodes=draws, out=options.accuracy, progress=False)
            print(f"\n{source.name}, {shot} a class, {options.strategy}, {AUGMENT}, 25 epochs, {draws} draws")
            for name in learners:
                against = "" if name == "anew" else f"  {compare(results[name], results['anew'])}"
                print(f"  {name:14} {100 * results[name].mean:5.1f}{against}", flush=True)


if __name__ == "__main__":
    main()
