"""Workers and their folders end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from episodes.temporary import temporary_folder

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from fewshot.engines import load_engine

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit that it is ignored

def slow(task):
    Path({folder!r}, f"worker-{{os.getpid()}}").touch()
    try:
        time.sleep(120)
    finally:
        Path({folder!r}, f"kept-{{os.getpid()}}").touch()

if __name__ == "__main__":
    from episodes.temporary import temporary_folder
    with temporary_folder("rows-", {folder!r}):
        for _ in load_engine(2).map(slow, range(4)):
            pass
"""


def pids(folder: Path, kind: str) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in folder.glob(f"{kind}-*")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.format(folder=str(tmp_path)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 90
    while len(pids(tmp_path, "worker")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = pids(tmp_path, "worker")
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    started = time.monotonic()
    if number == signal.SIGINT:  # as the keyboard does: all of them
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert said.count(b"Traceback") == (1 if number == signal.SIGINT else 0), "of workers, too"
    while any(map(is_alive, workers)) and time.monotonic() - started < 20:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))
    assert sorted(pids(tmp_path, "kept")) == sorted(workers), "what was finished was not written"
    left = list(tmp_path.glob("rows-*"))
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    with temporary_folder("rows-", tmp_path) as folder:
        assert list(tmp_path.glob("rows-*")) == [folder], "the folder of the killed one is still there"
        with temporary_folder("rows-", tmp_path) as other:
            assert folder.exists()
            assert other != folder
    assert not list(tmp_path.glob("rows-*"))
