"""Faults injected into everything that is stored: is anything wrong, lost, or answered with a raw error?

    python benchmarks/faults.py                 # all, some minutes
    python benchmarks/faults.py --only cache    # kinds whose name begins so

Each trial damages one file, kills a process or takes a right away, uses what is left in the usual way, and compares
with what must come out. *Wrong*: another result without an error. *Lost*: what was whole is not served, or a finished
write is gone. *Raw*: an error that no reader of a message could act on. All trials come from one seed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
from fault_trials.trial import FINE, KINDS, LOST, RAW, WRONG, Trial

from fewshot.cache import CacheWriteError, MissingRowsError

# Their order decides the seeds.
for part in ("cache", "results", "saved", "episodes_and_arrays", "commands"):
    import_module(f"fault_trials.{part}")


def run(trial: Trial, random: np.random.Generator) -> tuple[str, str]:
    folder = Path(tempfile.mkdtemp(prefix="fewshot-faults-"))
    os.chmod(folder, 0o755)
    try:
        return trial(random, folder), ""
    except (ValueError, CacheWriteError, MissingRowsError) as error:
        return FINE, str(error)
    except Exception as error:
        return RAW, f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    import logging
    import warnings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of trials")
    parser.add_argument("--verbose", action="store_true", help="say what the first raw error of each kind was")
    options = parser.parse_args()
    logging.getLogger("fewshot").setLevel(logging.CRITICAL)
    logging.getLogger("episodes").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    print("| what | trials | wrong | lost | raw |\n|---|---|---|---|---|", flush=True)
    for number, (name, (trial, trials)) in enumerate(KINDS.items()):
        if not name.startswith(options.only):
            continue
        count, first = max(1, round(trials * options.scale)), ""
        found: Counter[str] = Counter()
        for one in range(count):
            outcome, words = run(trial, np.random.default_rng([options.seed, number, one]))
            found[outcome] += 1
            first = first or (words if outcome == RAW else "")
        total.update(found)
        print(f"| {name} | {count} | {found[WRONG]} | {found[LOST]} | {found[RAW]} |", flush=True)
        if options.verbose and first:
            print(f"    {first[:300]}")
    print(f"| all | {sum(total.values())} | {total[WRONG]} | {total[LOST]} | {total[RAW]} |")
    sys.exit(1 if total[WRONG] + total[LOST] + total[RAW] else 0)


if __name__ == "__main__":
    main()
