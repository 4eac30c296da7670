"""What adapters that weigh source rows have in common: how the weights are used, and when they say too little."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.adaptation.adapter import AdaptationWarning, Ask, DomainAdapter
from fewshot.learner import State

_FEW = 0.05  # of the rows: below it the weights rest on a handful


def effective_sample_size(weights: Tensor) -> Tensor:
    """How many equally weighted rows would say as much ``[E]``: ``(sum w)^2 / sum w^2``.

    Args:
        weights: ``[E, S]``, at least 0.

    >>> effective_sample_size(torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])).tolist()
    [4.0, 2.0]
    """
    squares = weights.square().sum(-1)
    return weights.sum(-1).square() / torch.where(squares > 0, squares, 1)


class InstanceWeights(DomainAdapter):
    """An adapter that keeps all rows, and counts a source row as often as it would be met in the target."""

    reweights = True

    def weigh(self, source: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """Weights of the source rows ``[E, S]``, 0 where not `known`; of any scale.

        Args:
            source: ``[E, S, D]``.
            known: which rows are real ``[E, S]``, bool.
            target: ``[E, U, D]``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define weigh(source, known, target).")

    @torch.no_grad()
    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """The source with weights of mean 1."""
        known = source.labels >= 0
        weights = self.weigh(source.support, known, target).to(source.support.dtype)
        count = known.sum(1, keepdim=True)
        weights = weights * count / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        self._warn(weights, count)
        own = source.weights
        return source.replace(weights=weights if own is None else weights * own), target.new_zeros(len(target))

    def _warn(self, weights: Tensor, count: Tensor) -> None:
        share = effective_sample_size(weights) / count.squeeze(1).clamp(min=1)
        few = int((share < _FEW).sum())
        if few:
            warnings.warn(
                f"{self!r}: in {few} of {len(weights)} episodes the weights rest on fewer than {_FEW:.0%} of the "
                f"source rows (least {float(share.min()):.1%}); the domains hardly overlap, and reweighting may do "
                "harm. Compare with the learner alone.",
                AdaptationWarning,
                stacklevel=2,
            )


def kernel_width(source: Tensor, known: Tensor, target: Tensor) -> Tensor:
    """The median of squared distances between the domains ``[E, 1, 1]``."""
    squares = torch.cdist(source, target).square()
    middle = torch.where(known.unsqueeze(-1), squares, torch.nan).flatten(1).nanmedian(1).values
    return middle.nan_to_num(1.0).clamp(min=torch.finfo(squares.dtype).tiny).view(-1, 1, 1)
