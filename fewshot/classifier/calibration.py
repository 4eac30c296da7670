"""Temperature scaling: probabilities that mean what they say."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fewshot.classifier.adapted import Adapted, own_gap
from fewshot.classifier.modelled import modelled_rows

_FEW = 10  # fewer held-out rows say less than `expected_temperature`
_SHIFTS = 4  # neighbours in the order of examples, whose differences displace
_DISPLACED = 0.5
_GAP = 10.0
_TRUSTED = 4  # shots up to which rows that were drawn say more than those that were held out


def own_temperature(adapted: Adapted, otherwise: float | None = None) -> float:
    """The temperature that the fitted examples ask for, each held out in turn with one of every other class.

    A learner that has seen fewer examples may be surer of itself (class means of few rows lie further apart, a
    covariance is smaller). Where the `own_gap` of the fold exceeds that of all examples, its logits are shrunk by as
    much, so that the temperature is one for the learner that has seen all.

    A transductive learner knows its queries by one another, and the few examples of a fold tell it less than the many
    rows that it will be asked about. So its temperature is ``T_h^(1-w) T_m^w``, of held-out examples and of rows drawn
    from a model of the classes (`modelled_rows`), with ``w = min(1, 4 / K)`` for K shots.

    Args:
        adapted: the learner and its examples.
        otherwise: the answer where too few can be held out; None guesses one (`expected_temperature`).
    """
    logits, labels = held_out_logits(adapted)
    if len(labels) < _FEW:
        return expected_temperature(adapted) if otherwise is None else otherwise
    found = fit_temperature(logits, labels)
    if not _can_be_modelled(adapted) or _by_single_rows(adapted):
        return found
    known = adapted.episode.labels[0]
    shots = len(known) / len(known.unique())
    share = min(1.0, _TRUSTED / shots)
    return found ** (1 - share) * modelled_temperature(adapted) ** share


def modelled_temperature(adapted: Adapted) -> float:
    """The temperature that rows drawn from a model of the classes ask for, all of them together."""
    rows, labels = modelled_rows(adapted.episode.support[0], adapted.episode.labels[0])
    return fit_temperature(torch.cat(list(adapted.logits(rows.cpu().numpy()))), labels.cpu())


def _can_be_modelled(adapted: Adapted) -> bool:
    return adapted.learner.transductive and adapted.episode.support.ndim == 3 and len(adapted.episode) == 1


def _by_single_rows(adapted: Adapted) -> bool:
    """Whether answers hang on the rows next to a query, of which a model of the classes tells nothing."""
    return bool(getattr(getattr(adapted.learner, "learner", adapted.learner), "by_single_rows", False))


def held_out_logits(adapted: Adapted) -> tuple[Tensor, Tensor]:
    """Logits ``[R, N]`` and classes ``[R]`` of held-out examples, at the scale of the learner that has seen all."""
    logits, labels, gap, _ = adapted.held_out()
    if len(labels) and not adapted.learner.transductive:
        with torch.no_grad():
            whole = own_gap(adapted.learner, adapted.state, adapted.episode).cpu()  # [1]
        logits = logits * (whole / gap).nan_to_num(1.0).clamp(0.01, 1.0).unsqueeze(1)  # [R, N]
    return logits, labels


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T for which ``softmax(logits / T)`` is most likely, given the true classes.

    ``minimise over T   -sum_i sum_n  t_in log softmax(logits_i / T)_n``. Few examples are often all
    classified right, and then the likelihood alone would ask for T = 0 and for certainty. So the targets are
    softened as Platt did: with M examples the true class gets ``(M + 1) / (M + 2)``, the others share what
    is left.

    Args:
        logits: ``[M, N]``, ``-inf`` for classes that could not be answered.
        labels: true classes ``[M]``, each with a finite logit.

    Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017,
    arXiv:1706.04599. Targets: Platt, "Probabilistic outputs for support vector machines", 1999.

    >>> fit_temperature(torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.tensor([0, 1, 1])) > 9
    True
    """
    from scipy.optimize import minimize_scalar

    logits = logits.double()
    possible = logits.isfinite()
    count, others = len(logits), (possible.sum(1, keepdim=True) - 1).clamp(min=1)  # M, [M, 1]
    true = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()  # [M, N]
    targets = torch.where(true, (count + 1) / (count + 2), 1 / (count + 2) / others)
    targets = targets.masked_fill(~possible, 0).double()  # [M, N]
    best = logits.amax(1, keepdim=True)
    logits = logits - best  # [M, N]: at most 0, and exactly 0 somewhere
    spread = logits.masked_fill(~possible, 0).abs().max().item()
    # All classes are always equally likely, whatever the temperature; or rows left the range of numbers.
    if spread == 0 or not math.isfinite(spread):
        return 1.0

    def loss(log_temperature: float) -> float:
        log_likely = (logits / math.exp(log_temperature)).log_softmax(1)
        return -(targets * log_likely.masked_fill(~possible, 0)).sum().item() / count

    # In units of the largest gap, the answer lies between certainty and indifference.
    scale = math.log(spread)
    found = minimize_scalar(loss, bounds=(scale - 15, scale + 15), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def expected_temperature(adapted: Adapted) -> float:
    """A temperature for examples of which no class has two, so that none can be held out.

    The geometric mean of two guesses, each made of the examples alone:

    - that under which the true class of displaced examples ``x_n + ρ (x_a - x_b)`` is most likely, ρ = 0.5: rows of
      a class scatter by about half the difference of two classes;
    - that under which the logit of an example's own class lies 10 above the mean of the others.

    A transductive learner takes that of `modelled_rows` instead, as its logits depend on how many rows are asked.

    ρ and 10 were chosen on six sets of image and text features, the same on which `benchmarks/calibration.py` measures,
    so that its figures for one shot flatter it. It orders nothing anew, and its error is several times that of
    `fit_temperature` on held-out rows.
    """
    episode = adapted.episode
    support, labels = episode.support[0], episode.labels[0].cpu()  # [S, *x], [S]
    if len(labels.unique()) < 2:
        return 1.0
    if _can_be_modelled(adapted):
        return modelled_temperature(adapted)
    shifts = range(min(len(support), _SHIFTS))
    pairs = [(first, second) for first in shifts for second in shifts if first != second]
    asked = [support + _DISPLACED * (support.roll(-first, 0) - support.roll(-second, 0)) for first, second in pairs]
    displaced = torch.cat([part for rows in asked for part in adapted.logits(rows.cpu().numpy())])
    found = fit_temperature(displaced, labels.repeat(len(pairs)))
    with torch.no_grad():
        gap = float(own_gap(adapted.learner, adapted.state, episode))
    if not 0 < gap < math.inf:
        return found
    return math.sqrt(found * gap / _GAP)
