"""The identity of a space: everything that a row depends on besides its item."""

from __future__ import annotations

import uuid
from typing import Any

from episodes.identity import UnknownIdentityError, describe
from fewshot.embedding.computing import Forward
from fewshot.embedding.items import Items
from fewshot.embedding.plan import trial
from fewshot.embedding.views import Augment


def space_spec(
    encoder: Any, items: Items, forward: Forward, storage: str, augment: Augment | None, *, once: bool = False
) -> dict[str, Any]:
    """What `EmbeddingCache.space` is asked for: JSON values that name weights, preprocessing and precision.

    Args:
        encoder: whose fingerprint counts.
        items: only their kind counts; the first is embedded where the encoder does not know its `dim`.
        forward: whose precision counts.
        storage: ``"float16"`` or ``"float32"``.
        augment: makes the views that are embedded, or None.
        once: the space will not be kept, so an encoder without an identity will do.

    Raises:
        fewshot.cache.UnfingerprintableError: the encoder has no identity that holds across processes.
    """
    try:
        identity = encoder.fingerprint
    except (UnknownIdentityError, TypeError):
        if not once:
            raise
        identity = {"once": uuid.uuid4().hex}
    return {
        "encoder": identity, "kind": items.kind, "precision": forward.precision,
        "dim": encoder.dim or trial(items, encoder, forward), "storage": storage,
        "augment": None if augment is None else describe(augment),
    }  # fmt: skip
