"""Reading a multi-task network from its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from episodes.schema import field, read_json
from fewshot.encoders.encoder import Encoder
from fewshot.multi_task.result import FILE, FORMAT, MultiTask, joined_names
from fewshot.transfer.tuned_encoder import load_tuned
from fewshot.transfer.tuned_folder import tuned


def load_tasks(folder: str | os.PathLike[str], encoder: str | Encoder | None = None) -> MultiTask:
    """Read what `MultiTask.save` wrote.

    Args:
        folder: that it was given.
        encoder: the encoder before training; it may be left out where that was given as a spec string.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: another encoder, or files that are damaged or do not belong together.
    """
    place = Path(folder)
    path = place / FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no {str(path)!r}; give the folder that MultiTask.save wrote.")
    content: Any = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{str(path)!r} is damaged, or of another release: its format is not {FORMAT}.")
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
