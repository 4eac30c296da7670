"""`audit`: are the cached rows what the encoder computes today?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from episodes.any_source import as_source
from fewshot.embedding.ahead import batches
from fewshot.embedding.canary import SAME
from fewshot.embedding.forward import BatchSize
from fewshot.embedding.plan import Work
from fewshot.embedding.settings import Settings

if TYPE_CHECKING:
    from fewshot.cache import EmbeddingCache
    from fewshot.encoders.encoder import Encoder


@dataclass(frozen=True)
class Audit:
    """Result of a comparison of cached with fresh rows.

    Attributes:
        space: id of the space.
        cached: rows of the dataset that the space holds.
        compared: how many of them were embedded again.
        lowest_cosine: between a cached row and a fresh one.
        wrong: (name of the item, cosine) of each row below 0.9999, the worst first.
    """

    space: str
    cached: int
    compared: int
    lowest_cosine: float
    wrong: list[tuple[str, float]]


def audit(
    dataset: Any,
    encoder: str | Encoder,
    *,
    cache: EmbeddingCache | str | os.PathLike[str] | None = None,
    sample: int = 256,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "auto",
    storage: str = "float16",
    runtime: str = "auto",
) -> Audit:
    """Embed a random sample of the cached rows again and compare; no row is written.

    Checksums (`EmbeddingCache.verify`) find files that changed; this finds rows that were never right, or
    that a changed library computes differently.

    Args:
        dataset: anything that `embed` takes.
        encoder: as it was given to `embed`.
        cache: an `EmbeddingCache` or its folder; None: the user's.
        sample: rows to compare at most.
        seed: of the sample.
        device: as for `embed`.
        precision: as for `embed`.
        storage: as for `embed`.
        runtime: as for `embed`.

    Raises:
        ValueError: the cache holds no row of this dataset by this encoder.
    """
    from fewshot.cache import EmbeddingCache
    from fewshot.encoders import load_encoder
    from fewshot.runtimes import fastest_forward

    if sample < 1:
        raise ValueError(f"sample={sample}; it must be at least 1.")
    store = cache if isinstance(cache, EmbeddingCache) else EmbeddingCache(cache)
    settings = Settings(device=device, precision=precision, storage=storage, runtime=runtime)
    model = load_encoder(encoder)
    source = as_source(dataset, model)
    plan = settings.plan(source, model)
    forward = fastest_forward(settings, model, source, plan, store)
    space = store.space(settings.space_spec(source, forward))
    units = plan.units[space.contains(plan.keys[plan.units, 0])]
    if not len(units):
        raise ValueError(
            f"the cache holds no row of {source.name!r} by {model.name!r} in {forward.precision}, stored as {storage}; "
            "embed it first, or give precision and storage as they were then (see fewshot cache ls)."
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(units)[:sample])
    work = Work(source, chosen.tolist(), plan.keys[chosen, 0], [{}] * len(chosen), scale=model.scale_of)
    kept = space.read(np.ascontiguousarray(work.keys)).double()
    cosine = torch.full((len(chosen),), -1.0, dtype=torch.float64)
    size = BatchSize(16, forward.device)
    for batch in batches(work, model, size, settings.threads, forward.device, forward.decoder):
        if batch.units:
            fresh, old = forward(batch.inputs).cpu().double(), kept[batch.units]
            same = (fresh == old).all(1)  # of a row of zeros there is no cosine
            cosine[batch.units] = torch.where(same, 1.0, torch.cosine_similarity(fresh, old))
    wrong = [(source.describe(work.rows[i]), float(cosine[i])) for i in cosine.argsort().tolist() if cosine[i] < SAME]
    return Audit(space.id, len(units), len(chosen), float(cosine.min()), wrong)
