"""Do sets of classes hold the true one as often as they say, on real features?

    python benchmarks/conformal.py --data ../shared/data

Sets, draws and learners as in `calibration.py`: share of sets that hold the true class, in %, and their mean size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from calibration import SETS, draw

from fewshot import FewShotClassifier


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--learners", nargs="+", default=["l2 | logistic", "prototypes", "lda", "ridge", "soft-kmeans"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--ways", type=int, default=10)
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    print("| learner | " + " | ".join(f"{name} {shots}" for name in options.sets for shots in options.shots) + " |")
    print("|---" * (1 + len(options.sets) * len(options.shots)) + "|")
    sets = {name: SETS[name](options.data) for name in options.sets}
    for learner in options.learners:
        cells = []
        for rows in sets.values():
            for shots in options.shots:
                held, size = [], []
                for seed in range(options.draws):
                    X, y, X_new, y_new = draw(rows, options.ways, shots, seed)
                    if not len(y):
                        continue  # no class has as many
                    found = FewShotClassifier(learner=learner).fit(X, y).predict_set(X_new, options.coverage)
                    held.append(found[np.arange(len(y_new)), y_new].mean())
                    size.append(found.sum(1).mean())
                cells.append(f"{100 * np.mean(held):.0f} of {np.mean(size):.1f}" if held else "")
        print(f"| `{learner.replace('|', chr(92) + '|')}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
