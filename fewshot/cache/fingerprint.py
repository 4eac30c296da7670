"""The key of one item: what an image, a row or a text is, by its content."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from torch import Tensor

from episodes.identity import UnknownIdentityError, canonical, describe, digest_weights

UnfingerprintableError = UnknownIdentityError  # its name before identities had a module of their own

__all__ = ["UnfingerprintableError", "canonical", "describe", "digest_weights", "item_key"]


def item_key(tag: str, payload: bytes | str | Tensor | np.ndarray[Any, Any], **fields: int | str) -> bytes:
    """The 16-byte key of one item: xxh3-128 of its content.

    Every part is preceded by its length, so different items never spell the same bytes.

    Args:
        tag: ``"file"`` (encoded bytes as stored), ``"tensor"`` or ``"text"``.
        payload: the content; of tensors also type and shape count, of strings their UTF-8 bytes.
        fields: what else the embedding depends on, such as ``view=3, seed=0`` of an augmented view.
    """
    import xxhash

    hasher = xxhash.xxh3_128()
    content: Any = payload
    head = [tag.encode(), canonical(fields)]
    if isinstance(payload, str):
        content = payload.encode()
    elif isinstance(payload, (Tensor, np.ndarray)):
        array = payload.detach().cpu().contiguous().numpy() if isinstance(payload, Tensor) else payload
        array = np.ascontiguousarray(array)
        head.append(f"{array.dtype.newbyteorder('<').str}{list(array.shape)}".encode())
        content = array.reshape(-1).view(np.uint8).data
    for part in head:
        hasher.update(struct.pack("<Q", len(part)))
        hasher.update(part)
    hasher.update(content)
    return hasher.digest()
