"""`MultiTask`: what training on several tasks gives: an encoder, and a head for each task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.any_source import as_source
from episodes.files import write_atomically
from fewshot.registry import unknown
from fewshot.transfer.heads import linear
from fewshot.transfer.labelled_rows import validation_labels
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuned_folder import save_with_encoder
from fewshot.transfer.tuning_plan import TuningPlan

FILE, FORMAT = "tasks.json", 1


class MultiTask:
    """A network that was trained on several tasks.

    Args:
        encoder: the trained network, whose head holds the classes of all tasks, those of the first one first.
        class_names: of each task.
        spec: of the encoder that it began with, where that was given as one.
        weights: of the tasks' losses at the end; None where there were none.

    Attributes:
        encoder: an encoder like any other, with an identity of its own.
        plan: what was trained.
        history: reports of the training, one list per phase.
    """

    def __init__(
        self,
        encoder: TunedEncoder,
        class_names: Mapping[str, Sequence[str]],
        *,
        spec: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.encoder, self.spec = encoder, spec
        self.class_names = {task: list(names) for task, names in class_names.items()}
        self.weights = None if weights is None else dict(weights)
        self.plan: TuningPlan | None = encoder.plan
        self.history = encoder.history

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.class_names)

    def task(self, name: str) -> TunedEncoder:
        """The encoder with the head of one task; the network is the same, not a copy.

        Raises:
            ValueError: no such task.
        """
        start, stop = self._columns(name)
        whole, head = self.encoder, self.encoder.head
        own = linear(head.weight[start:stop].detach().clone(), head.bias[start:stop].detach().clone())
        return TunedEncoder(
            whole.encoder, own.to(head.weight.device).requires_grad_(False), self.class_names[name], base=whole.base,
            changed=whole.changed, strategy=whole.strategy, plan=self.plan, history=self.history,
            setting=whole.setting,
        )  # fmt: skip

    def logits(self, task: str, dataset: Any, **options: Any) -> Tensor:
        """Logits of a task's head for every item of a dataset ``[M, C_t]``.

        Args:
            task: its name.
            dataset: whatever `fewshot.embed` takes.
            options: of `fewshot.embed`, such as ``cache=False``.

        Raises:
            ValueError: no such task.
        """
        return self.task(task).logits(dataset, **options)

    def predict(self, task: str, dataset: Any, **options: Any) -> list[str]:
        """The most likely class of each item; arguments as in `logits`."""
        names = self.class_names[self._known(task)]
        return [names[place] for place in self.logits(task, dataset, **options).argmax(1).tolist()]

    def accuracy(self, task: str, source: Any, **options: Any) -> float:
        """Share of rows whose most likely class is theirs.

        Args:
            task: its name.
            source: labelled rows of classes of that task.
            options: of `fewshot.embed`.

        Raises:
            ValueError: no such task, or a row of a class that it has not.
        """
        names = self.class_names[self._known(task)]
        items = as_source(source, self.encoder)
        found = self.logits(task, items, **options).argmax(1).cpu()
        return float((found == validation_labels(items, names)).double().mean())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what differs from the encoder before training, all heads, and the names of tasks and classes.

        It is the folder of a tuned encoder with ``tasks.json`` beside it; read it with `load_tasks`. Where the encoder
        was given as a spec string, the folder is a spec, too: ``load_encoder(folder)`` gives the trained network.
        """
        if self.spec is None:
            place = self.encoder.save(folder)
        else:
            place = save_with_encoder(self.encoder, self.spec, folder)
        notes = {"format": FORMAT, "tasks": self.class_names, "weights": self.weights}
        write_atomically(place / FILE, (json.dumps(notes, indent=1) + "\n").encode())
        return place

    def _known(self, task: str) -> str:
        if task not in self.class_names:
            raise ValueError(unknown("task", task, self.tasks))
        return task

    def _columns(self, task: str) -> tuple[int, int]:
        """Where the classes of a task begin and end among those of all tasks."""
        before = self.tasks[: self.tasks.index(self._known(task))]
        start = sum(len(self.class_names[name]) for name in before)
        return start, start + len(self.class_names[task])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(classes)} classes" for name, classes in self.class_names.items())
        return f"MultiTask({self.encoder.name!r}; {sizes})"


def joined_names(class_names: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of the classes of all tasks: ``task: class``."""
    return [f"{task}: {name}" for task, names in class_names.items() for name in names]


def shares_of(weights: Tensor | None, tasks: Sequence[str]) -> dict[str, float] | None:
    """Weights by task."""
    return None if weights is None else dict(zip(tasks, torch.as_tensor(weights).tolist(), strict=True))
