"""The command line, and workers whose parent is killed."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from fault_trials.results import results
from fault_trials.trial import FINE, LOST, RAW, damage, kind
from fewshot.cli import main as command


@kind("command line: mishaps", 24)
def _(random: np.random.Generator, folder: Path) -> str:
    runs = folder / "runs.jsonl"
    results(runs)
    damage(random, runs)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "torn.safetensors").write_bytes(bytes(7))
    (folder / "bank.npz").write_bytes(b"PK\3\4" + bytes(50))
    lines = [
        ["compare", str(runs)], ["report", str(runs)], ["compare", str(folder)], ["compare", str(folder / "deep.json")],
        ["evaluate", "--data", f"arrays:{folder / 'bank.npz'}"],
        ["evaluate", "--learner", "ridge(alpha=" + "9" * 5000 + ")"],
        ["evaluate", "--learner", "ridge(alpha={[]: 1})"], ["evaluate", "--data", f"csv:{folder / 'deep.json'}"],
        ["embed", "--data", "digits", "--encoder", f"timm:resnet18@{folder / 'torn.safetensors'}"],
        ["cache", "ls", "--cache", str(runs)], ["cache", "info", "zz", "--cache", str(folder / "c")],
        ["classify", str(folder / "deep.json"), "--classes", "a", "b"],
    ]  # fmt: skip
    line = lines[int(random.integers(len(lines)))]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            command([*line, "--quiet"])
        except SystemExit:
            return FINE
    return RAW if "Traceback" in errors.getvalue() or "--debug" in errors.getvalue() else FINE


@kind("engine: parent killed", 2)
def _(random: np.random.Generator, folder: Path) -> str:
    (folder / "program.py").write_text(
        "import os, sys, time\nfrom pathlib import Path\nfrom fewshot.engines import load_engine\n"
        "def slow(folder):\n    Path(folder, f'worker-{os.getpid()}').touch()\n    time.sleep(100)\n"
        f"if __name__ == '__main__':\n    list(load_engine(2).map(slow, [{str(folder)!r}] * 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(folder / "program.py")], stderr=subprocess.DEVNULL, env=environment)
    while len(list(folder.glob("worker-*"))) < 2 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal((signal.SIGKILL, signal.SIGINT)[int(random.integers(2))])
    process.wait()
    time.sleep(3)
    alive = [path for path in folder.glob("worker-*") if _is_alive(int(path.name.partition("-")[2]))]
    return LOST if alive else FINE


def _is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
