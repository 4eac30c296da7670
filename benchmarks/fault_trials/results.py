"""Files of results: a damaged line, a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from episodes import EpisodeSampler, Results, evaluate
from fault_trials.trial import FINE, LOST, WRONG, damage, kind, source


def results(path: Path) -> dict[str, Any]:
    rows = source()
    sampler = EpisodeSampler(rows.labels, way=3, shot=1, query=5, seed=0)
    for learner in ("prototypes", "nearest", "ridge"):
        evaluate(learner, rows, sampler, episodes=20, out=path, progress=False)
    return {cell.learner: cell.scores.tolist() for cell in Results.load(path).cells}


def loaded(path: Path) -> dict[str, Any]:
    """Cells that can still be read: none where one bad line costs the file."""
    try:
        return {cell.learner: cell.scores.tolist() for cell in Results.load(path).cells}
    except ValueError:
        return {}


@kind("results: damaged line", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    path = folder / "runs.jsonl"
    truth = results(path)
    damage(random, path)
    found = loaded(path)
    if any(truth.get(name) != scores for name, scores in found.items()):
        return WRONG
    whole = path.read_bytes().count(b"\n")  # lines left, of which one may be the damaged one
    return FINE if len(found) >= min(2, whole) else LOST


@kind("results: full disk", 8)
def _(random: np.random.Generator, folder: Path) -> str:
    path = folder / "runs.jsonl"
    results(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    limit = path.stat().st_size + int(random.integers(1, 400))
    code = (
        "import resource, signal, sys; from pathlib import Path; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        f"from fault_trials.results import results; results(Path({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    held = set(loaded(path))
    if not {"prototypes", "nearest"} <= held or (done.returncode == 0 and "ridge" not in held):
        return LOST
    return FINE if set(results(path)) == {"prototypes", "nearest", "ridge"} else LOST
