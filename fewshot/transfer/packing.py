"""The weights of an encoder beside what is saved with it, so that its folder can move to another machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from episodes.files import read_bounded, write_atomically
from fewshot.registry import parse_spec

FILE = "encoder.safetensors"
PACKED = f"packed:{FILE}"  # stands for the file in the classifier's own folder
TUNED = "encoder"  # folder of a tuned encoder's files
PACKED_TUNED = f"tuned:packed:{TUNED}"
_LIMIT = 2**36  # bytes


def pack(encoder: Any, folder: Path) -> tuple[Any, str | None]:
    """Copy the checkpoint that a spec names into the folder, as safetensors.

    Returns:
        The spec with the copy in its place, and the copy's sha256; what was given, and None, where the spec names no
        file of weights.
    """
    from safetensors.torch import save

    from fewshot.encoders.checkpoint import read_checkpoint

    if (tuned := _tuned(encoder)) is not None:
        return PACKED_TUNED, _copy(tuned, folder / TUNED)
    place = _checkpoint(encoder)
    if place is None:
        return encoder, None
    path = Path(place).expanduser()
    if path.suffix == ".safetensors":
        content = read_bounded(path, _LIMIT)
    else:
        content = save({name: value.contiguous() for name, value in read_checkpoint(path).items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, content)
    return _with(encoder, PACKED), hashlib.sha256(content).hexdigest()


def unpack(encoder: Any, digest: str | None, folder: Path) -> Any:
    """The spec with the path of the packed file, once that is known to be the one that was saved.

    Raises:
        ValueError: the file is missing or another one.
    """
    if encoder == PACKED_TUNED:
        if _digest(folder / TUNED) != digest:
            raise ValueError(
                f"the tuned encoder in {str(folder / TUNED)!r} is not the one that was saved; it is missing, damaged "
                "or was replaced. Copy the whole folder, or give encoder=."
            )
        _refuse_named_files(folder / TUNED)
        return f"tuned:{folder / TUNED}"
    if _checkpoint(encoder) != PACKED:
        return encoder
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{FILE} is missing in {str(folder)!r}; copy the whole folder, or give encoder=.")
    if hashlib.sha256(read_bounded(path, _LIMIT)).hexdigest() != digest:
        raise ValueError(f"{FILE} in {str(folder)!r} is not the one that was saved; it is damaged or was replaced.")
    return _with(encoder, str(path))


def _tuned(encoder: Any) -> Path | None:
    """The folder of a tuned encoder that a spec, or its path alone, names."""
    from fewshot.transfer.tuned_files import is_tuned_folder

    if not isinstance(encoder, str | os.PathLike):
        return None
    place = os.path.expanduser(os.fspath(encoder).removeprefix("tuned:"))
    return Path(place) if is_tuned_folder(place) else None


def _parts(folder: Path) -> list[str]:
    """Files of a tuned encoder, and of the tuned encoder that it began with, if any."""
    from fewshot.transfer.tuned_files import FILES

    own = [name for name in FILES if (folder / name).is_file()]
    inner = _parts(folder / TUNED) if (folder / TUNED).is_dir() else []
    return own + [f"{TUNED}/{name}" for name in inner]


def _copy(tuned: Path, target: Path) -> str:
    for name in _parts(tuned):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target / name, read_bounded(tuned / name, _LIMIT))
    return _digest(target)


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for name in _parts(folder):
        total.update(name.encode() + hashlib.sha256(read_bounded(folder / name, _LIMIT)).digest())
    return total.hexdigest()


def _refuse_named_files(folder: Path) -> None:
    """A model from elsewhere may not name files of this machine as what its encoder was tuned from."""
    from episodes.schema import read_json
    from fewshot.encoders.named_files import refuse_local

    content = read_json(folder / "encoder.json")
    spec = content.get("encoder") if isinstance(content, dict) else None
    if spec == PACKED_TUNED:
        _refuse_named_files(folder / TUNED)
    elif _checkpoint(spec) != PACKED:
        refuse_local(spec, folder)


def _checkpoint(encoder: Any) -> str | None:
    """The file of weights that a spec names."""
    if not isinstance(encoder, str):
        return None
    name, options = parse_spec(encoder)
    _, at, place = name.partition("@")
    found = place if at else options.get("checkpoint")
    return found if isinstance(found, str) else None


def _with(encoder: str, place: str) -> str:
    name, options = parse_spec(encoder)
    name = name.partition("@")[0]
    options = {"checkpoint": place, **{key: value for key, value in options.items() if key != "checkpoint"}}
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
