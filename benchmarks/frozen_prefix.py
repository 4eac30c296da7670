"""How much faster the last stages train when what comes before them is computed once.

    python benchmarks/frozen_prefix.py --data ../shared/data

MobileNetV2 at 96 pixels on 100 photographs of 10 objects, batches of 25. Prints seconds of an epoch that trains the
whole network, and for the last stages with the prefix computed anew and with it cached, how many times faster the
latter is than each, all in one run, and the largest difference of a loss. The epoch that fills the cache is left out.
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
    whole = _epoch(encoder, source, "full", options.epochs, False)[0]
    print(
        f"full: {whole:.2f} s an epoch\nstages    anew  cached  than full  than anew  losses differ by  activations/row"
    )
    for count in options.last:
        (anew, losses, _), (cached, others, plan) = (
            _epoch(encoder, source, f"last({count})", options.epochs, prefix) for prefix in (False, True)
        )
        gap = max(abs(one - other) for one, other in zip(losses, others, strict=True))
        phase = plan.phases[0]
        shape = phase.lines[phase.first - 1].shape
        print(
            f"last({count})  {anew:5.2f}  {cached:6.3f}  {whole / cached:9.1f}  {anew / cached:9.1f}  {gap:16.1e}  "
            f"{shape}"
        )


def _epoch(encoder: Any, source: Any, strategy: str, epochs: int, prefix: bool) -> tuple[float, list[float], Any]:
    """Seconds of an epoch, the first apart, the losses and the plan."""
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as cache:
        tuned = fine_tune(
            encoder, source, strategy, epochs=epochs + 1, batch_size=25, prefix=prefix, cache=cache,
            callbacks=[lambda report: moments.append(time.perf_counter())], progress=False,
        )  # fmt: skip
    return (moments[-1] - moments[0]) / epochs, [report["loss"] for report in tuned.history[0]], tuned.plan


if __name__ == "__main__":
    main()
