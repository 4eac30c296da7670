"""bfloat16 on processors that multiply it natively, for encoders whose rows stay what they were."""

from __future__ import annotations

import logging
from typing import Any

import torch

from episodes.device import has_bfloat16
from episodes.source import StoredSource, tower_of
from fewshot.embedding.canary import control_items
from fewshot.embedding.forward import Forward, is_large
from fewshot.embedding.plan import Plan
from fewshot.embedding.settings import Settings
from fewshot.encoders.preprocess import is_plain

_LOG = logging.getLogger("fewshot")
# Of the control items. Photographs came out up to 1.5 times as far from float32 as these do where the network bears
# bfloat16 at all, and ten times where it does not, so that theirs stay above 0.9999.
NEAR = 0.99995
_found: dict[tuple[str, str], bool] = {}  # (encoder, tower) -> whether its rows stay near


def in_best_precision(
    settings: Settings, exact: Forward, source: StoredSource, plan: Plan, store: Any, identity: str | None
) -> Forward:
    """The forward pass of the precision that was asked for; of ``"auto"`` on a CPU, the fastest that is near float32.

    That is bfloat16 where all of this holds, and float32 elsewhere: the processor multiplies bfloat16 natively (torch
    says so); the encoder is large enough to gain; the cache holds no row of this dataset in float32, which would be
    computed again for nothing; and the control items come out within a cosine of 0.99995 of float32. The precision is
    part of the space, so rows of one are never served for the other.

    Args:
        settings: of `embed`.
        exact: the forward pass by the settings alone.
        source: what is embedded; its kind decides the tower.
        plan: its content keys.
        store: the `EmbeddingCache`.
        identity: digest of the encoder's fingerprint; None: it has none, so that no answer could be kept for it.
    """
    tower = tower_of(source)
    if settings.precision == "bfloat16" and exact.device.type == "cpu" and not has_bfloat16():
        _LOG.warning(
            "precision='bfloat16': this processor does not multiply bfloat16 itself, so torch goes by way of float32, "
            "which is slower than precision='float32'."
        )
    if settings.precision != "auto" or identity is None or not _may_gain(exact, tower):
        return exact
    spec = settings.space_spec(source, exact)
    if store.holds(spec) and len(plan.missing(store.space(spec))) < len(plan.units):
        return exact
    rough = exact.like(precision="bfloat16")
    if (identity, tower) not in _found:
        _found[identity, tower] = _stays_near(rough, exact, tower)
    return rough if _found[identity, tower] else exact


def _may_gain(forward: Forward, tower: str) -> bool:
    on_processor = forward.device.type == "cpu" and forward.precision == "float32" and has_bfloat16()
    fixed_size = tower == "texts" or is_plain(forward.encoder.transform)
    return on_processor and fixed_size and is_large(forward.encoder.module)


def _stays_near(rough: Forward, exact: Forward, tower: str) -> bool:
    items = control_items(tower, exact.encoder)
    near, true = rough(items).double(), exact(items).double()
    cosine = torch.cosine_similarity(near, true).nan_to_num(0.0).min()
    if cosine >= NEAR:
        return True
    _LOG.info(
        "%s is computed exactly, in float32: by the faster bfloat16 its rows would be up to %.5f (cosine) off; "
        "precision='bfloat16' computes in bfloat16 all the same.", exact.encoder.name, 1 - float(cosine),
    )  # fmt: skip
    return False
