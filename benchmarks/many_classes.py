"""Time and memory of classifiers of thousands of classes, and what `calibrate` and `estimate` cost beside `fit`.

    python benchmarks/many_classes.py                    # 10,000 classes of 2 examples
    python benchmarks/many_classes.py --ratios           # 150 classes of 5 examples, against fit
    python benchmarks/many_classes.py --agreement ../shared/data --learners ridge lda

Synthetic rows of length one, 384 features, 1,000 queries, one thread; processor time, and memory beyond that of the
rows. Each learner runs in a process of its own. Ratios are of the least times; of learners with class words those of
the adaptation alone, as a classifier embeds the words first. `--agreement` looks at learners that have a shorter way
than fitting the others anew to leave examples out (`Learner.adapt_without`), on real features.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from calibration import SETS, draw

from fewshot import FewShotClassifier, Learner, load_learner
from fewshot.classifier.adapted import Adapted, task
from fewshot.classifier.calibration import own_temperature

_LEAST_ROUNDS, _MOST_ROUNDS, _SECONDS = 3, 50, 5.0
_MOST_ROWS = 1000  # of the agreement
LEARNERS = ["prototypes", "simpleshot", "nearest", "ridge", "lda", "l2 | logistic"]


def rows(ways: int, shots: int) -> tuple[np.ndarray, ...]:
    """Examples and queries around random centres."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(ways, 384)).astype(np.float32)
    parts = []
    for y in (np.repeat(np.arange(ways), shots), random.integers(0, ways, size=1000)):
        X = centres[y] + (2 * random.normal(size=(len(y), 384))).astype(np.float32)
        parts += [X / np.linalg.norm(X, axis=1, keepdims=True), y]
    return tuple(parts)


def memory() -> float:
    """The most that was held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(spec: str, ways: int, shots: int) -> None:
    """A row of the table of many classes."""
    X, y, X_new, y_new = rows(ways, shots)
    before, seconds = memory(), [time.process_time()]
    try:
        classifier = FewShotClassifier(learner=spec, calibrated=False).fit(X, y)
    except ValueError as error:
        print(f"| `{spec}` | refused: {error} |", flush=True)
        return
    seconds.append(time.process_time())
    classifier.calibrate()
    seconds.append(time.process_time())
    chance = classifier.predict_proba(X_new)
    seconds.append(time.process_time())
    times = " | ".join(f"{part:.1f}" for part in np.diff(seconds))
    right, stated = 100 * (chance.argmax(1) == y_new).mean(), 100 * chance.max(1).mean()
    print(f"| `{spec}` | {times} | {memory() - before:.2f} | {right:.1f} | {stated:.1f} |", flush=True)


def ratios(spec: str, ways: int, shots: int) -> None:
    """A row of the table of what calibration costs."""
    X, y, *_ = rows(ways, shots)
    learner = load_learner(spec)
    fitted = worded if "text" in learner.needs else plain
    least, begun = [float("inf")] * 3, time.perf_counter()
    for count in range(_MOST_ROUNDS):
        works: list[Callable[[], object]] = []
        for place in range(3):
            begin = time.process_time()
            works = works or list(fitted(learner, X, y))
            if place:
                works[place - 1]()
            least[place] = min(least[place], time.process_time() - begin)
        if count >= _LEAST_ROUNDS and time.perf_counter() - begun > _SECONDS:
            break
    fit, calibrate, estimate = least
    print(f"| `{spec}` | {1000 * fit:.1f} | {calibrate / fit:.1f} | {estimate / fit:.1f} |", flush=True)


def plain(learner: Learner, X: np.ndarray, y: np.ndarray) -> tuple[Callable[[], object], ...]:
    """A classifier of features, fitted: its `calibrate` and `estimate`."""
    classifier = FewShotClassifier(learner=learner, calibrated=False).fit(X, y)
    return classifier.calibrate, classifier.estimate


def worded(learner: Learner, X: np.ndarray, y: np.ndarray) -> tuple[Callable[[], object], ...]:
    """The same for learners with class words, without the encoder that a classifier needs for these."""
    means = np.zeros((y.max() + 1, X.shape[1]), X.dtype)
    np.add.at(means, y, X)
    words = torch.from_numpy(means + np.random.default_rng(1).normal(size=means.shape).astype(X.dtype) / 20)
    adapted = Adapted(copy.deepcopy(learner), task(X, y, len(means), torch.device("cpu"), words))
    return lambda: own_temperature(adapted), lambda: adapted.held_out(whole=True)


def agreement(spec: str, data: Path) -> None:
    """A row of the table of how far a shorter way to leave rows out agrees with fitting the others anew."""
    apart, other = [], 0
    for read in (SETS["dtd"], SETS["office"], SETS["banking77"]):
        known = read(data)
        for ways, shots, seed in product((5, 0), (2, 5, 20), (0, 1, 2)):
            if not ways and (seed or shots * len(np.unique(known[1])) > _MOST_ROWS):
                continue
            X, y, *_ = draw(known, ways, shots, seed)
            learner = load_learner(spec)
            adapted = Adapted(learner, task(X, y, len(np.unique(y)), torch.device("cpu")))
            found = own_temperature(adapted), adapted.held_out(whole=True).logits.argmax(1)
            with patch.object(type(learner), "adapt_without", Learner.adapt_without):
                expected = own_temperature(adapted), adapted.held_out(whole=True).logits.argmax(1)
            apart.append(abs(found[0] / expected[0] - 1))
            other += int((found[1] != expected[1]).sum())
    print(f"| `{spec}` | {len(apart)} | {np.max(apart):.0e} | {other} |", flush=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", nargs="+", default=LEARNERS)
    parser.add_argument("--ways", type=int, help="default 10,000, of ratios 150")
    parser.add_argument("--shots", type=int, help="default 2, of ratios 5")
    parser.add_argument("--ratios", action="store_true", help="of calibrate and estimate to fit")
    parser.add_argument("--agreement", type=Path, metavar="DATA", help="of temperatures with those of fits anew")
    parser.add_argument("--one", metavar="SPEC", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways, shots = (options.ways or (150 if options.ratios else 10_000)), (options.shots or (5 if options.ratios else 2))
    if options.one:
        return ratios(options.one, ways, shots) if options.ratios else one(options.one, ways, shots)
    heads = ["fit, s", "calibrate, s", "predict 1,000, s", "GB more", "right, %", "stated, %"]
    heads = ["fit, ms", "calibrate / fit", "estimate / fit"] if options.ratios else heads
    heads = ["fits", "temperature apart", "rows answered otherwise"] if options.agreement else heads
    print("| learner | " + " | ".join(heads) + " |\n" + "|---" * (1 + len(heads)) + "|", flush=True)
    for spec in options.learners:
        if options.agreement:
            agreement(spec, options.agreement)
            continue
        more = ["--ways", str(ways), "--shots", str(shots), *(["--ratios"] if options.ratios else [])]
        # Each in a process of its own, so that memory is its own.
        done = subprocess.run([sys.executable, __file__, "--one", spec, *more], check=False)
        if done.returncode:
            print(f"| `{spec}` | ended with {done.returncode} |", flush=True)
    return None


if __name__ == "__main__":
    main()
