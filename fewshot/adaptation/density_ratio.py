"""`density-ratio` and `kliep`: weights that estimate how much likelier a row is in the target than in the source."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.inputs import check_whole
from fewshot.adaptation.weighting import InstanceWeights, kernel_width
from fewshot.learners.logistic import Logistic
from fewshot.maths.linalg import product

_STEPS = 2000
_GAIN = 1e-8  # of the mean log-likelihood in one step: below it nothing changes any more


class DensityRatio(InstanceWeights):
    """Weights ``p(target | x) / p(source | x)`` by logistic regression between the domains, out of fold.

    A row's weight comes from a classifier that did not see it, is cut at the given quantile, and weights are scaled to
    mean 1.

    Args:
        folds: in how many parts the rows are held out, at least 2.
        clip: quantile 0..1 above which weights are cut.

    Raises:
        ValueError: an argument out of range.

    Reference: Bickel, Brückner, Scheffer, "Discriminative learning under covariate shift", JMLR 10 (2009).

    Example:
        >>> import torch
        >>> source, target = torch.linspace(0, 1, 6).view(1, 6, 1), torch.linspace(0.6, 1.1, 6).view(1, 6, 1)
        >>> weights = DensityRatio(folds=2).weigh(source, torch.ones(1, 6, dtype=torch.bool), target)
        >>> (weights > weights.mean()).tolist()  # rows near the target count for more
        [[False, False, False, False, True, True]]
    """

    name = "density-ratio"

    def __init__(self, folds: int = 5, clip: float = 0.99) -> None:
        super().__init__()
        self.folds = check_whole("folds", folds, 2)
        if not 0 < clip <= 1:
            raise ValueError(f"clip={clip!r}; it must be above 0 and at most 1.")
        self.clip = clip

    def weigh(self, source: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """Weights ``[E, S]``."""
        rows = torch.cat([source, target], 1)  # [E, S + U, D]
        labels = torch.cat([known.long() - 1, known.new_ones(target.shape[:2]).long()], 1)  # 0 source, 1 target
        place = torch.cat([torch.arange(part.shape[1], device=rows.device) for part in (source, target)])
        logarithm = torch.zeros_like(known, dtype=rows.dtype)
        learner = Logistic()
        for fold in range(self.folds):
            held_out = place % self.folds == fold  # [S + U]
            task = Support(rows, labels.masked_fill(held_out, -1), way=2)
            logits = learner.predict(learner.adapt(task), source)  # [E, S, 2]
            logarithm = torch.where(held_out[: source.shape[1]], logits[..., 1] - logits[..., 0], logarithm)
        logarithm = logarithm.masked_fill(~known, -torch.inf)
        weights = (logarithm - logarithm.amax(1, keepdim=True)).exp()
        cut = torch.where(known, weights, torch.nan).nanquantile(self.clip, dim=1, keepdim=True)
        return torch.minimum(weights, cut)


class KLIEP(InstanceWeights):
    """Weights ``w(x) = sum_l a_l k(x, c_l)`` that make the reweighted source likeliest to give the target rows.

    ``max mean_j log w(t_j)`` with ``a >= 0`` and weights of mean 1 over the source, k Gaussian about target rows c with
    the median width. With ``pi_l = a_l mean_i k(x_i, c_l)`` it is the likelihood of a mixture in its shares, which
    expectation maximisation climbs without a step size.

    Args:
        centres: the most target rows used as centres.

    Raises:
        ValueError: `centres` is no whole number above 0.

    Reference: Sugiyama, Nakajima, Kashima, von Bünau, Kawanabe, "Direct importance estimation with model selection
    and its application to covariate shift adaptation", NIPS 2007.

    Example:
        >>> import torch
        >>> source, target = torch.linspace(0, 1, 6).view(1, 6, 1), torch.linspace(0.6, 1.1, 6).view(1, 6, 1)
        >>> weights = KLIEP().weigh(source, torch.ones(1, 6, dtype=torch.bool), target)
        >>> (weights > weights.mean()).tolist()  # rows near the target count for more
        [[False, False, False, False, True, True]]
    """

    name = "kliep"

    def __init__(self, centres: int = 100) -> None:
        super().__init__()
        self.centres = check_whole("centres", centres)

    def weigh(self, source: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """Weights ``[E, S]`` in float64."""
        exact = torch.float32 if source.device.type == "mps" else torch.float64
        rows, others = source.to(exact), target.to(exact)
        count = min(self.centres, others.shape[1])
        chosen = torch.linspace(0, others.shape[1] - 1, count, device=others.device).round().long()
        centres = others[:, chosen]  # [E, L, D]
        width = kernel_width(rows, known, others)
        mask = known.to(exact)
        of_source = (-torch.cdist(rows, centres).square() / width).exp()  # [E, S, L]
        level = product((mask / mask.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1), of_source)  # [E, 1, L]
        level = level.clamp(min=torch.finfo(exact).tiny ** 0.5)
        of_target = (-torch.cdist(others, centres).square() / width).exp() / level  # [E, U, L]
        shares = _mixture(of_target)  # [E, L]
        return product(of_source / level, shares.unsqueeze(-1)).squeeze(-1) * mask


def _mixture(density: Tensor) -> Tensor:
    """The shares of components under which rows are likeliest ``[E, L]``, from densities ``[E, U, L]``."""
    shares = torch.full_like(density[:, 0], 1 / density.shape[-1])
    before = torch.full_like(shares[:, :1], -torch.inf)
    done = torch.zeros_like(before, dtype=torch.bool)
    for _ in range(_STEPS):
        mixed = product(density, shares.unsqueeze(-1))  # [E, U, 1]
        value = mixed.log().mean(1)  # [E, 1]
        done = done | (value - before < _GAIN)
        if bool(done.all()):
            break
        new = shares * (density / mixed).mean(1)
        shares, before = torch.where(done, shares, new), value
    return shares
