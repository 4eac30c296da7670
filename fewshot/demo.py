"""``make demo``: the main job on real data, without a network: four learners sit the digits exam."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

LEARNERS = ["prototypes", "nearest", "ridge", "logistic"]
SHOTS = [1, 2, 5, 10]


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, print the table and the paired comparison, draw accuracy against shots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5000, help="episodes per cell (default 5000)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the plot (default demo/)")
    options = parser.parse_args(arguments)

    from episodes import EpisodeSampler, Results, compare_all, evaluate, load_dataset
    from episodes.report import plot_shots

    begin = time.perf_counter()
    source = load_dataset("digits")
    print(f"{source.name}: {len(source):,} real handwritten digits in {len(source.class_names)} classes\n")
    results = Results()
    for shot in SHOTS:
        sampler = EpisodeSampler(source.labels, way=5, shot=shot, query=15, seed=0, name=source.name)
        results += evaluate(LEARNERS, source, sampler, episodes=options.episodes)
    print(results)
    for shot in (1, 5):
        print(f"\n5-way {shot}-shot, paired over the same episodes:")
        for comparison in compare_all(results.select(shot=shot)):
            print(f"  {comparison}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("accuracy.svg", "accuracy.png"):
        plot_shots(results, options.out / name)
        print(f"\nwrote {options.out / name}", end="")
    seconds = time.perf_counter() - begin
    print(f"\n{len(results.cells)} cells of {options.episodes:,} episodes in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
