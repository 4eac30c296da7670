"""`score_encoder`: what features say of a task before anything is trained."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fewshot.encoders.encoder import Encoder
from fewshot.transfer.domain_distance import linear_cka, mmd, proxy_a_distance
from fewshot.transfer.evidence import logme
from fewshot.transfer.left_out import left_out_mean, left_out_ridge
from fewshot.transfer.posteriors import leep, nce
from fewshot.transfer.separation import h_score, neighbour_purity
from fewshot.transfer.source_head import source_posteriors
from fewshot.transfer.stage_features import stage_features

_NEIGHBOURS, _FOLDS = 5, 5
_MOST = 2000  # rows that are scored


@dataclass(frozen=True)
class EncoderScores:
    """Scores of one encoder on labelled rows; what cannot be computed is None.

    Attributes:
        encoder: name.
        rows: that were scored.
        width: features D.
        logme: evidence per row; see `logme`.
        leep: of the encoder's own classifier; see `leep`.
        nce: likewise; see `nce`.
        h_score: see `h_score`.
        mean_left_out: see `left_out_mean`.
        ridge_left_out: see `left_out_ridge`.
        purity: of five nearest rows; see `neighbour_purity`.
        cka: of each stage of the network with the one-hot labels; see `linear_cka`.
        a_distance: to the source sample; see `proxy_a_distance`.
        mmd: to the source sample; see `mmd`.
        seconds: spent on embedding and scoring.
    """

    encoder: str
    rows: int
    width: int
    logme: float
    leep: float | None
    nce: float | None
    h_score: float
    mean_left_out: float | None
    ridge_left_out: float
    purity: float | None
    cka: dict[str, float] = field(default_factory=dict)
    a_distance: float | None = None
    mmd: float | None = None
    seconds: float = 0.0

    @property
    def left_out(self) -> float:
        """The better of the two accuracies on left-out rows."""
        return max(self.ridge_left_out, self.mean_left_out or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def score_encoder(
    encoder: str | Encoder, source: Any, *, like: Any = None, layers: bool = True, cache: Any = None,
    device: torch.device | str = "auto", seed: int = 0,
) -> EncoderScores:  # fmt: skip
    """All scores of an encoder on labelled rows.

    Columns are standardised by these rows first (with `like`: by that sample), except for LEEP and NCE.

    Args:
        encoder: spec string or `Encoder`.
        source: labelled rows, a `Source`; of more than 2,000 some are chosen.
        like: rows like those that the encoder was trained on, for the distance of the domains.
        layers: also the likeness of each stage's features with the labels.
        cache: of embeddings, as in `fewshot.embed`.
        device: where it runs.
        seed: of the choice of rows.

    Raises:
        ValueError: there is only one class, or the encoder does not take such rows.
    """
    from episodes.any_source import as_source
    from episodes.device import choose_device
    from fewshot.embedding import embed
    from fewshot.encoders import load_encoder

    began = time.perf_counter()
    model = load_encoder(encoder)
    if len(source) > _MOST:
        chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[:_MOST]
        source = source.select(chosen.sort().values)
    options: dict[str, Any] = {"cache": cache, "device": device, "storage": "float32", "progress": False}
    rows = embed(source, model, **options)
    features, labels = rows.features.cpu(), rows.labels
    scaled = _standardised(features, features)
    counts = labels.bincount()
    posteriors = source_posteriors(model, features)
    cka: dict[str, float] = {}
    if layers:
        one_hot = torch.nn.functional.one_hot(labels).double()
        found = stage_features(model, as_source(source, model), choose_device(device))
        cka = {name: linear_cka(held, one_hot) for name, held in found.items()}
    distance = discrepancy = None
    if like is not None:
        near = embed(like, model, **options).features.cpu()
        sides = [_standardised(part, near) for part in (near, features)]
        discrepancy = mmd(*sides)
        if min(map(len, sides)) >= _FOLDS:
            distance = proxy_a_distance(*sides, folds=_FOLDS, seed=seed)
    neighbours = min(_NEIGHBOURS, len(labels) - 1)
    return EncoderScores(
        model.name, len(labels), features.shape[1], logme(scaled, labels),
        None if posteriors is None else leep(posteriors, labels),
        None if posteriors is None else nce(posteriors.argmax(1), labels),
        h_score(scaled, labels),
        left_out_mean(features, labels) if int(counts.max()) > 1 else None, left_out_ridge(scaled, labels),
        neighbour_purity(scaled, labels, neighbours), cka, distance, discrepancy,
        time.perf_counter() - began,
    )  # fmt: skip


def _standardised(rows: Tensor, by: Tensor) -> Tensor:
    """By mean and spread of each column; of a column that is constant there, by the largest spread."""
    mean, spread = by.double().mean(0), by.double().std(0, correction=0)
    most = float(spread.max()) or 1.0
    return (rows.double() - mean) / torch.where(spread > 1e-6 * most, spread, most)
