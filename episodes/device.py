"""What there is to compute with: the device that ``device="auto"`` stands for, and the number of processors."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path

import torch


def choose_device(
    device: torch.device | str = "auto", *, held: torch.device | None = None, float64: bool = True
) -> torch.device:
    """The device of that name; ``"auto"`` has one rule in the whole library.

    ``"auto"`` is where the data or the network are already, if that is an accelerator; else the current CUDA device;
    else Apple's MPS, where float32 will do (the forward pass of `fewshot.embed`: learners and evaluation compute in
    float64, which MPS lacks); else the CPU.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, any other device of torch, or a
            `torch.device`.
        held: where the data or the network are, or None.
        float64: whether the computation may need float64; then ``"auto"`` is never MPS.

    Raises:
        ValueError: there is no such device, in torch or on this machine.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if str(device) != "auto":
        return _checked(device)
    if held is not None and held.type != "cpu":
        return held
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if not float64 and torch.backends.mps.is_available() else "cpu")


def _checked(device: torch.device | str) -> torch.device:
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        near = "; did you mean 'cuda'?" if str(device).lower().startswith(("gpu", "nvidia")) else "."
        raise ValueError(
            f"device={device!r}; it must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', or another device of torch{near}"
        ) from None
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            raise ValueError(
                f"device={str(device)!r}, but torch finds {count or 'no'} CUDA device{'s' * (count != 1)} here; give "
                "'cpu' or 'auto', or install a torch that was built for your GPU."
            )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device={str(device)!r}, but torch finds no Apple GPU here; give 'cpu' or 'auto'.")
    return chosen


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX), as torch finds it to.

    Elsewhere torch computes it by way of float32, which is slower than float32 itself. Where this torch cannot say,
    the answer is no.
    """
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def processors() -> int:
    """Processors that this process may use: its affinity mask, and no more than the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _own_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


@lru_cache(maxsize=1)
def _own_quota() -> float | None:
    return quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))


def quota(membership: Path, root: Path) -> float | None:
    """Processors that the control groups of a process allow, a fraction; None where there is no limit.

    Args:
        membership: ``/proc/self/cgroup``.
        root: where control groups are mounted.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:  # no Linux
        return None
    found = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / ("cpu" if controllers else "")
        group = top / path.strip("/")
        # In a container the path is often that of the host; then the group is mounted at the top.
        for folder in [group, *group.parents] if group.is_dir() else [top]:
            limit = _limit(folder)
            found += [limit] if limit is not None else []
            if folder == top:
                break
    return min(found, default=None)


def _limit(folder: Path) -> float | None:
    """The quota of one group: of version 2 in ``cpu.max``, of version 1 in two files."""
    try:
        if (folder / "cpu.max").is_file():
            allowed, period = (folder / "cpu.max").read_text().split()
        else:
            allowed = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(allowed) / int(period) if int(allowed) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max": no limit
        return None
