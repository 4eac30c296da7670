"""How much faster the last stages train when what comes before them is computed once.

    python benchmarks/frozen_prefix.py --data ../shared/data

MobileNetV2 at 96 pixels on 100 photographs of 10 objects, batches of 25. Prints, for each first trained stage, seconds
of an epoch with the whole network and with the prefix cached, their ratio in one run, and the largest difference of a
loss. The epoch that fills the cache is counted apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from four_cells import network, objects

from fewshot import fine_tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--last", type=int, nargs="+", default=[1, 2, 3, 4])
    options = parser.parse_args()
    source, encoder = objects(options.data), network(options.data)
    rows = torch.cat([(source.labels == label).nonzero().flatten()[:10] for label in range(10)])
    source = source.select(rows)
    print("stages    whole  cached  ratio  losses differ by  activations/row")
    for count in options.last:
        runs = {}
        for prefix in (False, True):
            moments = [time.perf_counter()]
            with tempfile.TemporaryDirectory() as cache:

                def listen(report: dict[str, Any], moments: list[float] = moments) -> None:
                    moments.append(time.perf_counter())

                tuned = fine_tune(
                    encoder, source, f"last({count})", epochs=options.epochs + 1, batch_size=25, prefix=prefix,
                    cache=cache, callbacks=[listen], progress=False,
                )  # fmt: skip
            runs[prefix] = (
                (moments[-1] - moments[1]) / options.epochs,
                [r["loss"] for r in tuned.history[0]],
                tuned.plan,
            )
        gap = max(abs(one - other) for one, other in zip(runs[True][1], runs[False][1], strict=True))
        whole, cached = runs[False][0], runs[True][0]
        phase = runs[True][2].phases[0]
        shape = phase.lines[phase.first - 1].shape
        print(f"last({count})  {whole:6.2f}  {cached:6.3f}  {whole / cached:5.1f}  {gap:16.1e}  {shape}")


if __name__ == "__main__":
    main()
