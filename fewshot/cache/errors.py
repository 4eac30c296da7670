"""What can go wrong between a cache and its reader."""

from __future__ import annotations

import errno
from pathlib import Path


class StaleCacheError(RuntimeError):
    """The encoder no longer computes the rows that are cached, although its fingerprint is the same."""


class MissingRowsError(LookupError):
    """Rows were requested that the cache does not have."""


class CacheWriteError(OSError):
    """The cache folder cannot be written to."""


_REASONS: dict[int | None, str] = {
    errno.ENOSPC: "the disk is full; free some space, or prune the cache",
    errno.EDQUOT: "the disk quota is used up; free some space, or prune the cache",
    errno.EROFS: "it lies on a read-only file system; set FEWSHOT_CACHE to a folder of yours",
    errno.EACCES: "permission denied; set FEWSHOT_CACHE to a folder of yours",
    errno.EPERM: "permission denied; set FEWSHOT_CACHE to a folder of yours",
    errno.EFBIG: "the file would exceed the size limit of this process",
}


def explain_write_error(error: OSError, path: Path) -> CacheWriteError:
    """The same error with its cause and what to do."""
    reason = _REASONS.get(error.errno, str(error))
    return CacheWriteError(error.errno, f"cannot write to the embedding cache {path}: {reason}. Earlier rows are safe.")
