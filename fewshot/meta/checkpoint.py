"""`Checkpoints`: the folder of a training, of which only the training's own files are touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.files import read_bounded, write_atomically
from episodes.identity import digest
from fewshot.meta.state_file import read_state, write_state
from fewshot.meta.weights import (
    LARGEST,
    load_weights,
    put_tensors,
    read_tensors,
    save_weights,
    serialised,
    tensors_of,
)

LAST, BEST, LOG = "last.safetensors", "best.safetensors", "log.jsonl"
_FORMAT = "a checkpoint of fewshot"


class Checkpoints:
    """``state.json`` holds the state of a training and names ``state-STEP.safetensors`` with its digest.

    The checkpoint is written first, then ``state.json``, which makes it count; ``last.safetensors``,
    ``best.safetensors`` and ``log.jsonl`` follow from these, and are repaired after a kill in between.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Any] | None:
        """The state of the training in this folder; None if there is none.

        Raises:
            ValueError: the state is damaged, or the folder holds files of something else that would be overwritten.
        """
        found = read_state(self.folder)
        if found is None:
            for name in (LOG, LAST, BEST):
                if (path := self.folder / name).exists() or path.is_symlink():
                    raise ValueError(
                        f"{str(self.folder)!r} holds a file {name!r} that belongs to no training (there is no "
                        "state.json beside it); it is left alone. Take another folder."
                    )
        self.content = found or {}
        return found

    def begin(self, identity: dict[str, Any], steps: int, learner: nn.Module) -> None:
        """Claim the folder: files of these names now belong to this training."""
        self.content = {
            "identity": identity, "step": 0, "steps": steps, "best": None, "best_step": None, "stale": 0,
            "start": digest(tensors_of(learner)), "last_weights": None, "best_weights": None, "scaler": {},
            "history": [], "checkpoint": None,
        }  # fmt: skip
        write_state(self.folder, self.content)

    def save(self, trained: nn.Module, learner: nn.Module, optimizer: torch.optim.Optimizer, **now: Any) -> None:
        """Write the state of the training; `now` holds the fields of ``state.json`` that change."""
        slots = {
            f"{number}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for number, values in optimizer.state_dict()["state"].items()
            for name, value in values.items()
            if value is not None
        }
        weights = {f"model.{name}": value for name, value in tensors_of(trained).items()}
        tensors = {**weights, **{name: value.detach().cpu().contiguous() for name, value in slots.items()}}
        checkpoint, before = serialised(tensors, {"format": _FORMAT}), self.content["checkpoint"]
        name = self._free_name(now["step"])
        write_atomically(self.folder / name, checkpoint)
        written = digest(tensors_of(learner))
        self.content = {
            **self.content, **now, "last_weights": written,
            "checkpoint": {"file": name, "digest": digest(checkpoint), "before": before and before["file"]},
        }  # fmt: skip
        if now["best_step"] == now["step"]:
            self.content["best_weights"] = written
        write_state(self.folder, self.content)
        self._write_what_follows(learner)

    def restore(self, trained: nn.Module, learner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Restore module and optimizer, and repair the files that follow from them.

        Raises:
            ValueError: a file is missing, damaged or of another training.
        """
        path, held = self.folder / self.content["checkpoint"]["file"], optimizer.state_dict()
        advice = f"Restore it from a copy, or train in another folder ({LAST!r} may be begun with)."
        if not path.is_file():
            raise ValueError(f"the checkpoint {str(path)!r}, which state.json names, is missing. {advice}")
        content = read_bounded(path, LARGEST)
        if digest(content) != self.content["checkpoint"]["digest"]:
            raise ValueError(f"the checkpoint {str(path)!r} is damaged or cut short: its digest is another. {advice}")
        saved, _ = read_tensors(content, repr(str(path)))
        try:
            put_tensors(trained, {name[6:]: value for name, value in saved.items() if name.startswith("model.")})
            for name, value in saved.items():
                if not name.startswith("model."):
                    number, _, slot = name.partition(".")
                    held["state"].setdefault(int(number), {})[slot] = value
            optimizer.load_state_dict(held)
        except (RuntimeError, KeyError, ValueError) as error:
            raise ValueError(f"the checkpoint {str(path)!r} does not fit this training: {error}. {advice}") from None
        self._write_what_follows(learner)

    def put_best(self, learner: nn.Module) -> None:
        """Give the learner the best weights.

        Raises:
            ValueError: they are damaged, or of another training.
        """
        path = self.folder / BEST
        if path.is_file():
            load_weights(learner, path)
        if not path.is_file() or digest(tensors_of(learner)) != self.content["best_weights"]:
            raise ValueError(
                f"{str(path)!r} is missing or of another training; restore it from a copy, or continue with the last "
                f"weights, {LAST!r}."
            )

    def _write_what_follows(self, learner: nn.Module) -> None:
        """The files that can be made of the state; and the checkpoint before this one goes."""
        now, step = self.content, str(self.content["step"])
        save_weights(learner, self.folder / LAST, step=step)
        if now["best_step"] == now["step"]:
            save_weights(learner, self.folder / BEST, step=step)
        checkpoint = now["checkpoint"]
        if checkpoint["before"] not in (None, checkpoint["file"]):
            (self.folder / checkpoint["before"]).unlink(missing_ok=True)
        write_atomically(self.folder / LOG, "".join(json.dumps(entry) + "\n" for entry in now["history"]).encode())

    def _free_name(self, step: int) -> str:
        """A name for a checkpoint that no file of others has."""
        for number in range(10_000):
            name = f"state-{step}{f'-{number}' if number else ''}.safetensors"
            path = self.folder / name
            if not path.exists() and not path.is_symlink():
                return name
            with open(path, "rb") as file:
                if _FORMAT.encode() in file.read(4096):  # left over where a kill came before state.json named it
                    return name
        raise ValueError(f"{str(self.folder)!r} is full of files called state-{step}; take another folder.")
