"""Which model hub is asked, and whether it may be; as `huggingface_hub` reads the environment."""

from __future__ import annotations

import os

_TRUE = ("1", "ON", "YES", "TRUE")


def hub_address() -> str:
    """The hub's address, or that of a mirror or a private hub: the environment variable HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def offline_by() -> str | None:
    """The environment variable, with its value, by which the hub is not to be asked; None where it may be."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        value = os.environ.get(name, "")
        if value.upper() in _TRUE:
            return f"{name}={value}"
    return None
