"""``state.json``: the state of a training, checked field by field when it is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from episodes.files import write_atomically
from episodes.identity import digest
from episodes.schema import field, read_json

SCHEMA = "fewshot-training/2"
NAME = "state.json"
_LIMIT = 2**28  # bytes; a report takes some two hundred
_MOST = 2**53  # of a count


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `write_state` wrote; None where there is nothing.

    Raises:
        ValueError: it is damaged, of an earlier version, or no state of a training; the message names the field.
    """
    path = folder / NAME
    if not path.exists() and not path.is_symlink():
        return None
    content, where = read_json(path, _LIMIT), repr(str(path))
    names = set(content) if isinstance(content, dict) else set()
    if not {"schema", "digest"} & names and {"step", "identity", "history"} <= names:
        raise ValueError(
            f"{where} was written by an earlier version, which did not record all that decides the weights, so it "
            f"cannot be resumed safely. Its weights are in {str(folder / 'last.safetensors')!r} (load_weights, or "
            "--weights); train in another folder."
        )
    if field(content, "schema", str, where) != SCHEMA:
        raise ValueError(f"{where}: the field 'schema' is {content['schema'][:40]!r}; it must be {SCHEMA!r}.")
    field(content, "identity", dict, where)
    step = field(content, "step", int, where, least=0, most=_MOST)
    field(content, "steps", int, where, least=0, most=_MOST)
    field(content, "stale", int, where, least=0, most=_MOST)
    best = field(content, "best", (float, type(None)), where, least=0, most=1)
    best_step = field(content, "best_step", (int, type(None)), where, least=1, most=step)
    if (best is None) != (best_step is None):
        raise ValueError(f"{where}: the fields 'best' and 'best_step' must both be null, or neither.")
    for name, there in (("start", True), ("last_weights", step > 0), ("best_weights", best is not None)):
        _digest_field(content, name, where, there)
    field(content, "scaler", dict, where, each=(int, float))
    _check_history(content, step, where)
    checkpoint = field(content, "checkpoint", (dict, type(None)), where)
    if (checkpoint is None) != (step == 0):
        raise ValueError(f"{where}: the field 'checkpoint' must be null at step 0, and only there.")
    if checkpoint is not None:
        inside = f"{where}, in 'checkpoint'"
        _digest_field(checkpoint, "digest", inside)
        for name in ("file", "before"):
            value = field(checkpoint, name, str if name == "file" else (str, type(None)), inside)
            if value is not None and not re.fullmatch(r"state-[0-9]{1,16}(-[0-9]{1,4})?\.safetensors", value):
                raise ValueError(f"{inside}: the field {name!r} is {value[:40]!r}, which names no checkpoint.")
    if field(content, "digest", str, where) != digest({**content, "digest": ""}):
        raise ValueError(
            f"{where} is damaged: the field 'digest' does not belong to the others. Restore it from a copy."
        )
    return content


def write_state(folder: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step; the content gets a digest of itself."""
    plain = json.loads(json.dumps({**content, "schema": SCHEMA, "digest": ""}, allow_nan=False))
    plain["digest"] = digest(plain)
    write_atomically(folder / NAME, json.dumps(plain, indent=1, allow_nan=False).encode())


def _digest_field(data: dict[str, Any], name: str, where: str, there: bool = True) -> None:
    value = field(data, name, str if there else type(None), where)
    if there and not re.fullmatch("[0-9a-f]{32}", value):
        raise ValueError(f"{where}: the field {name!r} is {value[:40]!r}; it must be 32 hexadecimal digits.")


def _check_history(content: dict[str, Any], step: int, where: str) -> None:
    last = 0
    for number, report in enumerate(field(content, "history", list, where, each=dict)):
        inside = f"{where}, report {number} of 'history'"
        now = field(report, "step", int, inside, least=last + 1, most=step)
        for name in report:
            field(report, name, int if name == "step" else float, inside)
        last = now
    if last != step:
        raise ValueError(f"{where}: the field 'history' ends at step {last}, but the field 'step' is {step}.")
