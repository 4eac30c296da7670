"""The embedding cache: nothing embedded twice, nothing stale, nothing lost."""

from fewshot.cache.errors import CacheWriteError, MissingRowsError, StaleCacheError
from fewshot.cache.fingerprint import UnfingerprintableError
from fewshot.cache.store import EmbeddingCache, SpaceInfo

__all__ = [
    "CacheWriteError",
    "EmbeddingCache",
    "MissingRowsError",
    "SpaceInfo",
    "StaleCacheError",
    "UnfingerprintableError",
]
