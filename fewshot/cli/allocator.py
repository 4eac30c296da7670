"""Memory that is freed stays with the process: glibc otherwise takes it from the system page by page in each step."""

from __future__ import annotations

import os

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_KEEP = 2**30  # bytes
_VERBS = ("embed", "evaluate", "finetune", "fit", "train")


def keep_freed_memory(verb: str | None) -> bool:
    """Tell glibc's allocator to keep up to 1 GiB of freed memory, for verbs that allocate large tensors in each step.

    The peak of memory is as before. Where the C library is another (musl, macOS, Windows), or where the environment
    says how to allocate (``MALLOC_...``, ``glibc.malloc`` in ``GLIBC_TUNABLES``), nothing is done.

    Args:
        verb: of the command line, or None.

    Returns:
        Whether the allocator was told.
    """
    if verb not in _VERBS or not _is_glibc() or _is_set():
        return False
    import ctypes

    tell = ctypes.CDLL(None).mallopt
    return bool(tell(_MMAP, _KEEP)) and bool(tell(_TRIM, _KEEP))


def _is_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):  # AttributeError: not POSIX
        return False


def _is_set() -> bool:
    own = any(name.startswith("MALLOC_") for name in os.environ)
    return own or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
