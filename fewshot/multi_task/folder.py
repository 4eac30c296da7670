"""A multi-task network in a folder: that of a tuned encoder, and ``tasks.json`` beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.files import write_atomically
from episodes.schema import field, read_json
from fewshot.encoders.encoder import Encoder

if TYPE_CHECKING:
    from fewshot.multi_task.result import MultiTask

FILE = "tasks.json"
_FORMAT = 1


def save_tasks(trained: MultiTask, folder: str | os.PathLike[str]) -> Path:
    """Write a multi-task network; see `MultiTask.save`."""
    from fewshot.transfer.tuned_folder import save_with_encoder

    if trained.spec is None:
        place = trained.encoder.save(folder)
    else:
        place = save_with_encoder(trained.encoder, trained.spec, folder)
    notes = {"format": _FORMAT, "tasks": trained.class_names, "weights": trained.weights}
    write_atomically(place / FILE, (json.dumps(notes, indent=1) + "\n").encode())
    return place


def load_tasks(folder: str | os.PathLike[str], encoder: str | Encoder | None = None) -> MultiTask:
    """Read what `MultiTask.save` wrote.

    Args:
        folder: that it was given.
        encoder: the encoder before training; it may be left out where that was given as a spec string.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: another encoder, or files that are damaged or do not belong together.
    """
    from fewshot.multi_task.result import MultiTask, joined_names
    from fewshot.transfer.tuned_encoder import load_tuned
    from fewshot.transfer.tuned_folder import tuned

    place = Path(folder)
    path = place / FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no {str(path)!r}; give the folder that MultiTask.save wrote.")
    content: Any = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{str(path)!r} is damaged, or of another release: its format is not {_FORMAT}.")
    tasks = field(content, "tasks", dict, repr(str(path)))
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in tasks.values()):
        raise ValueError(f"{str(path)!r} is damaged: 'tasks' must give a list of class names for each task.")
    if encoder is not None:
        found = load_tuned(place, encoder)
    elif (place / "encoder.json").is_file():
        found = tuned(str(place))
    else:
        raise ValueError(
            f"{str(place)!r} does not say what was trained; give encoder=, the encoder that training began with."
        )
    if joined_names(tasks) != found.class_names:
        raise ValueError(f"the files in {str(place)!r} do not belong together; save the network again.")
    spec = encoder if isinstance(encoder, str) else None
    return MultiTask(found, tasks, spec=spec, weights=content.get("weights"))
