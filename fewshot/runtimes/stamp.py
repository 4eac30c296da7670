"""`stamp`: whether an encoder was changed since, found out without reading its weights."""

from __future__ import annotations

from typing import Any


def stamp(encoder: Any) -> tuple[Any, ...] | None:
    """Equal as long as nothing was assigned to the encoder, no part replaced or hooked, and no weight written.

    Torch counts what is written to a tensor, but for writes through ``.data``, which only a fingerprint finds. None: it
    cannot be told.
    """
    module = encoder.module
    own = tuple((name, id(value)) for name, value in vars(encoder).items() if not name.startswith("_"))
    if module is None:
        return own
    parts = tuple(
        (id(part), len(part.__dict__), len(part._forward_hooks), len(part._forward_pre_hooks))
        for part in module.modules()
    )
    try:
        tensors = tuple((t.data_ptr(), t._version) for t in (*module.parameters(), *module.buffers()))
    except RuntimeError:  # made in inference mode: nobody counts
        return None
    return (*own, parts, tensors)
