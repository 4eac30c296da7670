"""What learners with class text share: unit vectors of both kinds, and a text-initialised cosine head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.maths.descent import Descent
from fewshot.maths.descent import Stepper as Stepper
from fewshot.maths.linalg import normalize, product
from fewshot.maths.prototype_head import PrototypeHead, cross_entropy_terms
from fewshot.maths.spread import spread

LARGEST = 100.0  # factor on the cosines of image-text models
_SCALES = 12
LENGTH = 10.0  # of a class vector that is tuned: that of CLIP's own text vectors, for which rates were published


class TextState(NamedTuple):
    """Support and text as unit vectors; a padding row of the support is zero."""

    support: Tensor  # [E, S, D]
    one_hot: Tensor  # [E, S, N]
    text: Tensor  # [E, N, D]
    absent: Tensor  # [E, N], True for a way that is not there: its text is zero


class TextWeights(NamedTuple):
    """One tuned class vector each."""

    weight: Tensor  # [E, N, D]
    absent: Tensor  # [E, N]
    scale: Tensor  # [E, 1, 1], factor on cosines


def read_text(episode: Support) -> TextState:
    """Normalise support and text.

    Raises:
        ValueError: image and text features do not share a space.
    """
    text = episode.text
    assert text is not None  # Learner.check has seen to it
    width = episode.support.shape[-1]
    if text.shape[-1] != width:
        raise ValueError(
            f"class text has {text.shape[-1]} features and the rows have {width}; both must come from the same model, "
            "such as one open_clip encoder."
        )
    one_hot = episode.one_hot
    known = one_hot.any(-1, keepdim=True)
    support = torch.where(known, normalize(episode.support, dim=-1), torch.zeros_like(episode.support))
    if text.ndim == 4:  # one vector per template
        text = normalize(text, dim=-1).mean(2)
    return TextState(support, one_hot, normalize(text, dim=-1), (text == 0).all(-1))


def cosines(query: Tensor, text: Tensor) -> Tensor:
    """With unit class vectors: ``[E, Q, D], [E, N, D] -> [E, Q, N]``."""
    return product(normalize(query, dim=-1), text.mT)


def without(logits: Tensor, absent: Tensor) -> Tensor:
    """Logits with ``-inf`` for ways that are not there."""
    return logits.masked_fill(absent.unsqueeze(1), -torch.inf)


def fitted_scale(known: TextState) -> Tensor:
    """The factor on text cosines, 100 or less, that makes the labels of each episode's support likeliest ``[E, 1, 1]``.

    Image-text models learn one near 100, and other encoders have none; without support it is 100.
    """
    cosine = product(known.support, known.text.mT)  # [E, S, N]
    scales = LARGEST * 2 ** (-torch.arange(_SCALES, device=cosine.device, dtype=cosine.dtype) / 2)
    likelihood = []
    for scale in scales:
        logits = without(scale * cosine, known.absent).log_softmax(-1)
        likelihood.append((known.one_hot * logits.clamp(min=-1e6)).sum((1, 2)))
    return scales[torch.stack(likelihood).argmax(0)].view(-1, 1, 1)


def scale_of(chosen: float | str, known: TextState) -> Tensor:
    """The factor that an argument `scale` asks for, a number or "auto" `fitted_scale` ``[E, 1, 1]``."""
    return fitted_scale(known) if isinstance(chosen, str) else known.text.new_full((len(known.text), 1, 1), chosen)


def spread_of_rows(known: TextState) -> Tensor:
    """Mean square distance of the unit support rows from their mean ``[E, 1, 1]``."""
    return spread(known.support, known.one_hot.any(-1)).root.square()


def TextDescent(steps: int, lr: float, optimizer: str = "sgd") -> Descent:
    """How a head is tuned: ``"adam"`` or ``"sgd"`` (momentum 0.9), the rate falling to zero along a cosine."""
    return Descent(optimizer, steps, lr, falling=True)


@torch.no_grad()
def tune_text(
    start: Tensor,
    rows: Tensor,
    one_hot: Tensor,
    absent: Tensor,
    scale: float | Tensor,
    how: Descent,
    anchor: Tensor | None = None,
    reach: float = 1.0,
) -> Tensor:
    """Class vectors ``start + reach r`` ``[E, N, D]`` with ``logits = scale cos(x, w)`` tuned by descending on r.

    The loss is the mean cross-entropy of the rows, plus ``mean_n anchor_n |w_n - start_n|²`` where one is given
    ``[E, N]``. Without any labelled row in an episode its vectors stay.

    Args:
        start: where they begin ``[E, N, D]``.
        rows: unit vectors, zero where padding ``[E, S, D]``.
        one_hot: their labels ``[E, S, N]``.
        absent: ways that are not there ``[E, N]``.
        scale: factor on cosines, one or that of each episode ``[E, 1, 1]``.
        how: the descent.
        anchor: strength of the pull back.
        reach: factor on what is learned.
    """
    residual = torch.zeros_like(start)
    head = PrototypeHead("cosine", scale, rows, absent, start)
    terms, shares = cross_entropy_terms(one_hot)
    stepper = Stepper(residual, how)
    ways = (~absent).sum(1).clamp(min=1).view(-1, 1, 1)
    for _ in range(how.steps):
        weight = start + reach * residual
        scored = head.score(weight)
        error = torch.addcmul(terms, scored.logits.softmax(1), shares)  # [E, N, S]
        gradient = reach * head.gradient(weight, error, scored)
        if anchor is not None:
            gradient = gradient + (2 * reach * reach) * anchor.unsqueeze(-1) * residual / ways
        stepper.step(residual, gradient)
    return start + reach * residual
