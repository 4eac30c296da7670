"""A tuned encoder as a folder that is an encoder's spec: ``--encoder TUNED/`` or ``load_encoder("tuned:TUNED/")``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from episodes.files import write_atomically
from episodes.schema import field, read_json

if TYPE_CHECKING:
    from fewshot.transfer.tuned_encoder import TunedEncoder


def save_with_encoder(
    tuned: TunedEncoder, encoder: str, folder: str | os.PathLike[str], rows: Iterable[str] = ()
) -> Path:
    """Write what fine-tuning changed, and what the encoder was before: its spec, with a copy of a local checkpoint.

    Args:
        tuned: the result of `fewshot.fine_tune`.
        encoder: the spec string of the encoder that was tuned.
        folder: made where it is not there; it can be moved to another machine.
        rows: digests of the content of the rows that it was tuned on: held-out estimates on them would flatter.

    Raises:
        ValueError: the encoder that was tuned lies in that folder.
    """
    from fewshot.transfer.own_folder import refuse_own_folder
    from fewshot.transfer.packing import pack

    refuse_own_folder(encoder, folder)
    place = tuned.save(folder)
    spec, digest = pack(encoder, place)
    note = {"encoder": spec, "sha256": digest, "rows": sorted(set(rows))}
    write_atomically(place / "encoder.json", (json.dumps(note, indent=1) + "\n").encode())
    return place


def tuned(model: str) -> TunedEncoder:
    """A fine-tuned encoder from the folder that ``fewshot finetune`` wrote.

    Args:
        model: the folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or does not say what was tuned.
    """
    from fewshot.encoders import load_encoder
    from fewshot.transfer.tuned_encoder import load_tuned

    folder = Path(model).expanduser()
    spec, rows = before_tuning(folder)
    found = load_tuned(folder, load_encoder(spec))
    found.name = f"tuned:{model}"
    found.rows = frozenset(rows)
    return found


def before_tuning(folder: Path) -> tuple[str, list[str]]:
    """The spec of the encoder that was tuned, and the digests of the rows that it was tuned on.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the note is damaged.
    """
    from fewshot.transfer.packing import unpack

    note = folder / "encoder.json"
    if not note.is_file():
        how = "use fewshot.transfer.load_tuned(folder, encoder)" if (folder / "tuned.json").is_file() else (
            "give one that `fewshot finetune` wrote"
        )  # fmt: skip
        raise FileNotFoundError(f"{str(folder)!r} holds no tuned encoder with its encoder.json; {how}.")
    content = read_json(note)
    if not isinstance(content, dict):
        raise ValueError(f"{str(note)!r} is damaged: it holds no fields.")
    spec = field(content, "encoder", str, repr(str(note)))
    digest = field(content, "sha256", (str, type(None)), repr(str(note)))
    return unpack(spec, digest, folder), field(content, "rows", list, repr(str(note)), each=str, default=[])
