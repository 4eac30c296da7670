"""Checkpoints: weights and optimiser as safetensors, the rest as JSON; each file appears whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save_weights(learner: nn.Module, path: str | os.PathLike[str], **notes: str) -> None:
    """Write a learner's weights, with its spec string and notes in the header."""
    state = {name: value.detach().cpu().contiguous() for name, value in learner.state_dict().items()}
    # One note: the writer puts several in any order, and the same weights shall make the same file.
    _write(Path(path), state, {"fewshot": json.dumps({"learner": repr(learner), **notes})})


def load_weights(learner: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Read weights that `save_weights` wrote; returns the learner.

    Raises:
        ValueError: they are of another learner.
        FileNotFoundError: there is no such file.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no weights {str(path)!r}.")
    with safe_open(path, "pt") as file:
        made = json.loads((file.metadata() or {}).get("fewshot", "{}")).get("learner", "another learner")
    try:
        learner.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} holds weights of {made}, which do not fit {learner!r}: {error}") from None
    return learner


class State:
    """Where a training stands: ``last.safetensors``, ``state-STEP.safetensors``, ``state.json``, ``log.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(
        self, trained: nn.Module, learner: nn.Module, optimiser: torch.optim.Optimizer, content: dict[str, Any]
    ) -> None:
        """Write all of them; the JSON comes last, and names what it belongs to."""
        step = int(content["step"])
        slots = {
            f"{number}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for number, values in optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        weights = {f"model.{name}": value for name, value in trained.state_dict().items()}
        everything = {name: value.detach().cpu().contiguous().clone() for name, value in {**weights, **slots}.items()}
        _write(self.folder / f"state-{step}.safetensors", everything, {})
        save_weights(learner, self.folder / "last.safetensors", step=str(step))
        text = json.dumps(content, indent=1).encode()
        log = "".join(json.dumps(entry) + "\n" for entry in content["history"])
        replace_file(self.folder / "log.jsonl", log.encode())
        replace_file(self.folder / "state.json", text)
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != f"state-{step}.safetensors":
                old.unlink()

    def read(self) -> dict[str, Any] | None:
        """What the JSON holds; None if nothing was saved yet."""
        path = self.folder / "state.json"
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def restore(self, step: int, trained: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put module and optimiser where they stood."""
        from safetensors.torch import load_file

        saved = load_file(self.folder / f"state-{step}.safetensors")
        trained.load_state_dict({name[6:]: value for name, value in saved.items() if name.startswith("model.")})
        held = optimiser.state_dict()
        for name, value in saved.items():
            if not name.startswith("model."):
                number, _, slot = name.partition(".")
                held["state"].setdefault(int(number), {})[slot] = value
        optimiser.load_state_dict(held)


def _write(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    from safetensors.torch import save

    replace_file(path, save(tensors, notes))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    new = path.with_name(path.name + ".new")
    with open(new, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
