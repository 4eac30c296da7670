"""Time and memory of classifiers of thousands of classes, and what `calibrate` and `estimate` cost beside `fit`.

    python benchmarks/many_classes.py                    # 10,000 classes of 2 examples
    python benchmarks/many_classes.py --ratios           # 150 classes of 5 examples, against fit

Synthetic rows of length one, 384 features, 1,000 queries, one thread; processor time, and memory beyond that of the
rows. Each learner runs in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from fewshot import FewShotClassifier

LEARNERS = ["prototypes", "nearest", "ridge", "lda", "l2 | logistic"]


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


def ratios(spec: str) -> None:
    """A row of the table of what calibration costs."""
    X, y, *_ = rows(150, 5)
    least = [float("inf")] * 3
    for _ in range(7):
        classifier = FewShotClassifier(learner=spec, calibrated=False)
        for place, work in enumerate((lambda c=classifier: c.fit(X, y), classifier.calibrate, classifier.estimate)):
            begin = time.process_time()
            work()
            least[place] = min(least[place], time.process_time() - begin)
    fit, calibrate, estimate = least
    print(f"| `{spec}` | {fit:.4f} | {calibrate / fit:.1f} | {estimate / fit:.1f} |", flush=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", nargs="+", default=LEARNERS)
    parser.add_argument("--ways", type=int, default=10_000)
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--ratios", action="store_true", help="of calibrate and estimate to fit")
    parser.add_argument("--one", metavar="SPEC", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        return ratios(options.one) if options.ratios else one(options.one, options.ways, options.shots)
    heads = ["fit, s", "calibrate / fit", "estimate / fit"] if options.ratios else [
        "fit, s", "calibrate, s", "predict 1,000, s", "GB more", "right, %", "stated, %",
    ]  # fmt: skip
    print("| learner | " + " | ".join(heads) + " |\n" + "|---" * (1 + len(heads)) + "|", flush=True)
    more = ["--ratios"] if options.ratios else ["--ways", str(options.ways), "--shots", str(options.shots)]
    for spec in options.learners:  # each in a process of its own, so that memory is its own
        subprocess.run([sys.executable, __file__, "--one", spec, *more], check=False)
    return None


if __name__ == "__main__":
    main()
