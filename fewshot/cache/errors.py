"""What can go wrong between a cache and its reader."""

from __future__ import annotations


class StaleCacheError(RuntimeError):
    """The encoder no longer computes what its cached rows say, although its fingerprint is the same."""


class MissingRowsError(LookupError):
    """Rows were asked for that the cache does not have."""


class CacheWriteError(OSError):
    """The cache folder cannot be written to."""
