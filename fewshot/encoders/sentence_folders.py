"""Folders of sentence-transformers models, checked before that library imports what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from episodes.schema import field, read_json

_LIBRARY = "sentence_transformers."
_MOST = 10_000  # files of a folder that are checked


def refuse_foreign_modules(folder: Path) -> None:
    """Every module of the model, also inside routers and word embeddings, must be a class of the library.

    Versions before 6 import whatever a folder names, and so run Python that lies in it.

    Raises:
        ValueError: a class of another origin, or a damaged file; the message names file and field.
    """
    path = folder / "modules.json"
    if path.is_file():
        modules = read_json(path)
        if not isinstance(modules, list):
            raise ValueError(f"{str(path)!r} must hold a list of modules.")
        for module in modules:
            _check(field(module, "type", str, repr(str(path))), path)
    for number, found in enumerate(folder.rglob("*.json")):
        if number >= _MOST:
            raise ValueError(
                f"{str(folder)!r} holds over {_MOST:,} JSON files; it is no model of sentence-transformers."
            )
        if found.name in ("router_config.json", "config.json") and found.is_file():
            _check_config(read_json(found), found)


def _check_config(config: Any, path: Path) -> None:
    if not isinstance(config, dict):
        return
    where = repr(str(path))
    if path.name == "router_config.json":
        for kind in field(config, "types", dict, where, default={}, each=str).values():
            _check(kind, path)
    elif "tokenizer_class" in config and "update_embeddings" in config:  # of word embeddings
        _check(field(config, "tokenizer_class", str, where), path)


def _check(kind: str, path: Path) -> None:
    if not kind.startswith(_LIBRARY):
        raise ValueError(
            f"{str(path)!r} names {kind[:80]!r}, which is no class of sentence-transformers; loading it would run code "
            "from that folder. Load it yourself if you trust it, and pass an Encoder of your own."
        )
