"""Digests of plain content: JSON values, arrays and tensors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

REMEDY = (
    "give version='...' where it is accepted and change it whenever the thing changes, or store nothing "
    "(cache=False, out=None)."
)


class UnknownIdentityError(ValueError):
    """Something has no identity that holds across processes; nothing is guessed in its place."""


def canonical(value: Any) -> bytes:
    """JSON values as bytes that do not depend on the order of keys.

    Raises:
        UnknownIdentityError: a value that is not JSON (a set, an object, NaN).
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnknownIdentityError(f"not plain JSON values ({error}): {str(value)[:200]}") from None
    return text.encode()


def xxh3(*parts: Any) -> str:
    """32 hexadecimal digits of the 128-bit xxh3 hash of some buffers, each preceded by its length."""
    import xxhash

    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(memoryview(part).nbytes.to_bytes(8, "little"))
        hasher.update(part)
    return str(hasher.hexdigest())


def digest_array(array: Tensor | np.ndarray[Any, Any]) -> str:
    """32 hexadecimal digits (xxh3-128) over type, shape and values of a tensor or array, wherever it is stored.

    At some 10 GB/s there is no need to remember it, so an array that was written to, by whatever road, is never
    taken for what it was before.

    Raises:
        UnknownIdentityError: a tensor without values (meta), or an array of objects.
    """
    head, parts = array_content(array)
    return xxh3(head, *parts)


def array_content(array: Tensor | np.ndarray[Any, Any]) -> tuple[bytes, list[Any]]:
    """Type and shape as bytes, and the values as buffers in row order, little-endian."""
    if isinstance(array, Tensor):
        return _tensor_content(array)
    if array.dtype.hasobject:
        raise UnknownIdentityError(f"an array of {array.dtype} has no bytes that hold across processes; {REMEDY}")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return f"{little.dtype.str}{list(array.shape)}".encode(), [little.view(np.uint8).data] if little.nbytes else []


def _tensor_content(tensor: Tensor) -> tuple[bytes, list[Any]]:
    tensor = tensor.detach()
    head = f"{tensor.dtype}{list(tensor.shape)}{'' if tensor.layout == torch.strided else tensor.layout}"
    if tensor.is_meta:
        raise UnknownIdentityError(f"a tensor on the meta device has no values; {REMEDY}")
    if tensor.is_quantized:
        head += f"{tensor.qscheme()}{tensor.q_scale()}{tensor.q_zero_point()}" if tensor.qscheme() in (
            torch.per_tensor_affine, torch.per_tensor_symmetric) else str(tensor)  # fmt: skip
        tensor = tensor.int_repr()
    elif tensor.layout == torch.sparse_coo:
        whole = tensor.coalesce()
        inner = [_tensor_content(part) for part in (whole.indices(), whole.values())]
        return head.encode() + b"".join(name for name, _ in inner), [part for _, parts in inner for part in parts]
    elif tensor.layout != torch.strided:
        return _tensor_content(tensor.to_sparse_coo())
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return head.encode(), [flat.view(torch.uint8).numpy().data] if flat.numel() else []
