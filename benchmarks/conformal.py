"""Do sets of classes hold the true one as often as they say, on real features?

    python benchmarks/conformal.py --data ../shared/data
    python benchmarks/conformal.py --data ../shared/data --words

Sets, draws and learners as in `calibration.py`: share of sets that hold the true class, in %, and their mean size. With
``--words`` learners that also read the names of the classes, of 77 intents and six kinds of questions (MiniLM).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from calibration import SETS, TEXTS, chosen_sets, learners_of

LEARNERS = ["l2 | logistic", "prototypes", "lda", "ridge", "soft-kmeans", "distribution-calibration"]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--learners", nargs="+", help="default: some of each kind")
    parser.add_argument("--words", action="store_true", help="learners that read names of classes, on sets of texts")
    parser.add_argument("--sets", nargs="+", help=f"of {', '.join(SETS)}; with --words of {', '.join(TEXTS)}")
    parser.add_argument("--ways", type=int, default=10)
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    sets = chosen_sets(options.data, options.sets, options.words)
    print("| learner | " + " | ".join(f"{name} {shots}" for name in sets for shots in options.shots) + " |")
    print("|---" * (1 + len(sets) * len(options.shots)) + "|")
    for learner in options.learners or (learners_of(words=True) if options.words else LEARNERS):
        cells = []
        for data in sets.values():
            for shots in options.shots:
                held, size = [], []
                for seed in range(options.draws):
                    X, y, X_new, y_new, others = data.drawn(options.ways, shots, seed)
                    if not len(y):
                        continue  # no class has as many
                    classifier = data.fit(learner, X, y, True, others)
                    found = classifier.predict_set(X_new, options.coverage)
                    held.append(found[np.arange(len(y_new)), data.places(classifier, y_new)].mean())
                    size.append(found.sum(1).mean())
                cells.append(f"{100 * np.mean(held):.0f} of {np.mean(size):.1f}" if held else "")
        print(f"| `{learner.replace('|', chr(92) + '|')}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
