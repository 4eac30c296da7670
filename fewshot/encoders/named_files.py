"""Specs of encoders that name files of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fewshot.registry import parse_spec

_WITHOUT_FILES = ("fewshot", "pixels", "torchvision")  # families whose models are names of this package


def refuse_local(encoder: Any, folder: Path) -> None:
    """A saved spec may name an encoder, not a file: what lies at a path here is not known to be what was meant.

    Raises:
        ValueError: it names a path.
    """
    if not isinstance(encoder, str):
        return
    name, options = parse_spec(encoder)
    family, _, model = name.partition(":")
    texts = [value for value in options.values() if isinstance(value, str)]
    local = "@" in model or "local-dir:" in model or "checkpoint" in options or any(map(_spelled_as_path, texts))
    if family.strip() not in _WITHOUT_FILES:
        local = local or _spelled_as_path(model) or _spelled_as_path(name)
        local = local or any(_exists(text) for text in (name, model, *texts) if text)  # a folder alone is a spec, too
    if local:
        raise ValueError(
            f"{str(folder)!r} was saved with the encoder {encoder[:200]!r}, which names files of a machine. If they "
            "are here and you trust them, say so: FewShotClassifier.load(path, encoder='...') with that spec."
        )


def _spelled_as_path(text: str) -> bool:
    return text.startswith(("/", "~", ".", "\\")) or "\\" in text or bool(re.match(r"[A-Za-z]:[\\/]", text))


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
