"""What computed a result: versions, device, threads, date."""

from __future__ import annotations

import platform
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and date of a computation that begins now, for its results."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"python": platform.python_version(), **_versions(), "device": f"{device.type} ({name})",
            "threads": torch.get_num_threads(), "date": datetime.now(timezone.utc).date().isoformat()}  # fmt: skip


@cache
def _versions() -> dict[str, str]:
    """Of this package and of those that scores are computed by, as far as they are installed."""
    found = {}
    for name in ("fewshot", "torch", "numpy", "scipy", "scikit-learn"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
