"""The embedding cache: nothing embedded twice, nothing stale, nothing lost."""

from fewshot.cache.errors import CacheWriteError, MissingRowsError, StaleCacheError
from fewshot.cache.fingerprint import UnfingerprintableError
from fewshot.cache.space_folder import SpaceInfo
from fewshot.cache.store import EmbeddingCache

__all__ = [
    "CacheWriteError",
    "EmbeddingCache",
    "MissingRowsError",
    "SpaceInfo",
    "StaleCacheError",
    "UnfingerprintableError",
]
