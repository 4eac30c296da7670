"""A tuning that was killed ends, by the same command, with the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tuning_examples import conv4, dropping, pictures, state, tune

TWO = "linear-probe | gradual(lr=1e-2, epochs=6)"
KILLED: dict[str, tuple[str, dict[str, Any]]] = {
    "gradual": (TWO, {"clip": 1.0}),
    "swa": (TWO, {"swa": 0.7}),
    "views": ("last(2, lr=1e-2, epochs=6)", {"augment": "flip | crop(0.5)", "views": 2, "swa": 0.5}),
    "lora": ("lora(2, epochs=6)", {"layer_decay": 0.9}),
}
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
import torch
from test_killed_tuning import KILLED, tune_killed
torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # what takes long, the imports, is done once
for name, (spec, _) in KILLED.items():
    place = Path(sys.argv[1]) / name
    child = os.fork()
    if not child:
        tune_killed(name, place, lambda report: time.sleep(0.2))
        os._exit(0)
    phase = spec.split("|")[-1].split("(")[0].strip()
    state, began = place / f"{{spec.count('|')}}-{{phase}}" / "state.json", time.monotonic()
    while not (state.exists() and json.loads(state.read_text())["step"] >= 6):
        assert os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() - began < 60, name
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert json.loads(state.read_text())["step"] < 18, name
"""


def tune_killed(name: str, out: Any, listener: Any = None) -> Any:
    spec, options = KILLED[name]
    callbacks = [] if listener is None else [listener]
    return tune(dropping(), spec, out=out, batch_norm="train", callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of trainings whose processes were killed after two of six epochs, or a few more."""
    folder = tmp_path_factory.mktemp("killed")
    script = folder / "tune.py"
    script.write_text(SCRIPT.format(tests=[str(Path(__file__).parents[place]) for place in (0, 2, 3)]))
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork here")
@pytest.mark.parametrize("name", KILLED)
def test_kill_nine_and_the_same_command_end_with_the_same_weights(name: str, killed: Path) -> None:
    resumed, whole = tune_killed(name, killed / name), tune_killed(name, None)
    assert [report["step"] for report in resumed.history[-1]] == [3, 6, 9, 12, 15, 18]
    assert all(torch.equal(value, state(resumed)[part]) for part, value in state(whole).items())
    assert torch.equal(resumed.head.weight, whole.head.weight)
    trained = {"0.0.weight"} if name == "lora" else {"1.0.weight", "1.1.running_var"}
    assert trained <= set(whole.changed)


def test_another_tuning_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    tune(conv4(), "last(1)", out=tmp_path)
    with pytest.raises(ValueError, match="holds a training with other settings"):
        tune(conv4(), "last(1)", out=tmp_path, label_smoothing=0.1)
    with pytest.raises(ValueError, match="holds a training with other rows"):
        tune(conv4(), "last(1)", pictures(seed=1), out=tmp_path)
