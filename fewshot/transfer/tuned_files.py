"""What the folder of a tuned encoder holds."""

from __future__ import annotations

import os

FILES = ("delta.safetensors", "tuned.json", "encoder.json", "encoder.safetensors")  # the last is not always there


def is_tuned_folder(place: str) -> bool:
    """Whether a folder holds a tuned encoder that says what it was tuned from."""
    return all(os.path.isfile(os.path.join(place, name)) for name in ("tuned.json", "encoder.json"))
