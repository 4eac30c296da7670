"""The identity of a fine-tuning: by what a resumed run is known to be the same."""

from __future__ import annotations

import uuid
from typing import Any

from episodes.device import processors
from episodes.identity import UnknownIdentityError, digest
from episodes.source import StoredSource
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.alignment.alignment import Alignment
from fewshot.transfer.alignment.target import TargetRows
from fewshot.transfer.labelled_rows import LabelledRows
from fewshot.transfer.settings import Settings


def phase_identity(
    base: str, rows: LabelledRows, written: str, how: Settings, number: int,
    aligned: tuple[TargetRows, Alignment] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Encoder, rows, strategy, settings, the number of the phase, and target rows where there are any, in JSON."""
    contents = [None if part is None else content_of(part) for part in (rows.items, rows.held_out)]
    known = {"encoder": base, "rows": contents, "strategy": written, "settings": how.identity(), "phase": number}
    if aligned is None:
        return known
    target, alignment = aligned
    return {**known, "target": content_of(target.items), "alignment": [repr(alignment), digest(alignment)]}


def identity_of(encoder: Encoder, required: bool) -> str:
    """A digest of an encoder's identity; of one that has none, a name that no other has.

    Raises:
        UnknownIdentityError: it has none, and one is required.
    """
    try:
        return digest(encoder.fingerprint)
    except (UnknownIdentityError, TypeError):
        if required:
            raise
        return uuid.uuid4().hex


def content_of(items: StoredSource) -> str:
    """A digest of rows and labels."""
    from fewshot.embedding.plan import Plan as Contents

    return digest([Contents(items, 0, None, 0, processors()).keys, items.labels, items.class_names])
