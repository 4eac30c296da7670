"""The temperature of a classifier, by its own examples: probabilities that mean what they say."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fewshot.classifier.adapted import Adapted, own_gap
from fewshot.classifier.folds import some_rows
from fewshot.classifier.modelled import modelled_rows
from fewshot.maths.clusters import likely_classes
from fewshot.maths.temperature import fit_temperature

FEW_HELD_OUT = 10  # fewer held-out rows say less than `expected_temperature`
_SHIFTS = 4  # neighbours in the order of examples, whose differences displace
_DISPLACED = 0.5
_GAP = 10.0
_OTHER_UNITS = 4.0  # times the gap of a fold
_SOFTENED = 50  # held-out rows at which half of a larger gap is believed
_DISPLACEMENTS = 2**24  # logits of displaced rows, at most
_TRUSTED = 4  # shots up to which rows that were drawn say more than those that were held out
_UNLABELLED = 2  # shots up to which unlabelled rows do
MOST_UNLABELLED = 1000  # rows that are looked at
_LEAST, _NUMBERS = 64, 500_000  # the fewest where classes are many, and rows times classes


def own_temperature(adapted: Adapted, otherwise: float | None = None, unlabelled: Tensor | None = None) -> float:
    """The temperature that the fitted examples ask for, each held out in turn with one of every other class.

    A learner that has seen fewer examples may be surer of itself (class means of few rows lie further apart, a
    covariance is smaller). Where the `own_gap` of the fold exceeds that of all examples, its logits are shrunk by as
    much, so that the temperature is one for the learner that has seen all. One that weighs class means by examples
    that it leaves out itself is surer after more of them: where the gap of the fold is the smaller one by a factor f,
    its logits are stretched by ``f^(R / (R + 50))`` for R rows held out (of few rows the softened targets of
    `fit_temperature` ask for less certainty already), and by f where that is above 4: without one of two examples of a
    class, `lda` has no covariance, and measures in other units.

    A transductive learner knows its queries by one another, and the few examples of a fold tell it less than the many
    rows that it will be asked about. So its temperature is ``T_h^(1-w) T_m^w``, of held-out examples and of rows drawn
    from a model of the classes (`modelled_rows`), with ``w = min(1, 4 / K)`` for K shots. Unlabelled rows, which tell
    how much a class scatters, take the place of drawn ones (`unlabelled_temperature`), and help any learner, with ``w =
    min(1, 2 / K)``.

    Args:
        adapted: the learner and its examples.
        otherwise: the answer where too few can be held out; None guesses one (`expected_temperature`).
        unlabelled: rows such as will be asked about ``[U, D]``; None where there are none.
    """
    logits, labels = held_out_logits(adapted)
    known = adapted.episode.labels[0]
    classes, few = len(known.unique()), len(labels) < FEW_HELD_OUT
    modelled = _can_be_modelled(adapted) and not _by_single_rows(adapted)
    if unlabelled is not None and classes > 1:
        other = unlabelled_temperature(adapted, unlabelled)
    elif few:
        return expected_temperature(adapted) if otherwise is None else otherwise
    elif modelled:
        other = modelled_temperature(adapted)
    else:
        return fit_temperature(logits, labels)
    share = min(1.0, (_TRUSTED if modelled else _UNLABELLED) * classes / len(known))
    return other if few else fit_temperature(logits, labels) ** (1 - share) * other**share


def unlabelled_temperature(adapted: Adapted, rows: Tensor) -> float:
    """The temperature at which the learner is as sure of unlabelled rows as their clusters around the examples allow.

    It is the geometric mean of those that the two models of `likely_classes` ask for. The learner is asked about at
    most 1,000 rows (fewer where classes are thousands), all together.

    Args:
        adapted: the learner and its examples, of at least two classes.
        rows: ``[U, D]``.
    """
    support, labels, way = adapted.episode.support[0], adapted.episode.labels[0], adapted.episode.way
    classes, place = labels.unique(return_inverse=True)  # [N], [S]
    weight = torch.ones_like(support[:, 0]) if adapted.episode.weights is None else adapted.episode.weights[0]  # [S]
    counts = torch.zeros_like(weight[: len(classes)]).index_add_(0, place, weight)  # [N]
    rows = rows[some_rows(len(rows), max(_LEAST, min(MOST_UNLABELLED, _NUMBERS // len(classes))))].to(support)
    means = torch.zeros(len(classes), rows.shape[1], dtype=rows.dtype, device=rows.device)
    means = means.index_add_(0, place, support * weight.unsqueeze(1)) / counts.unsqueeze(1)  # [N, D]
    logits = torch.cat(list(adapted.logits(rows.cpu().numpy())))  # [U, way]
    found = []
    for chance in likely_classes(means.cpu(), counts.cpu(), rows.cpu()):
        target = torch.zeros(len(rows), way, dtype=chance.dtype)
        found.append(fit_temperature(logits, target.index_copy(1, classes.cpu(), chance)))
    return math.sqrt(found[0] * found[1])


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
        ratio = (whole / gap).nan_to_num(1.0)  # [R]
        more = torch.where(ratio > _OTHER_UNITS, ratio, ratio ** (len(labels) / (len(labels) + _SOFTENED)))
        logits = logits * torch.where(ratio > 1, more, ratio.clamp(min=0.01)).unsqueeze(1)  # [R, N]
    return logits, labels


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
    some = some_rows(len(support), _DISPLACEMENTS // (len(pairs) * episode.way))
    asked = [
        (support + _DISPLACED * (support.roll(-first, 0) - support.roll(-second, 0)))[some] for first, second in pairs
    ]
    displaced = torch.cat([part for rows in asked for part in adapted.logits(rows.cpu().numpy())])
    found = fit_temperature(displaced, labels[some].repeat(len(pairs)))
    with torch.no_grad():
        gap = float(own_gap(adapted.learner, adapted.state, episode))
    if not 0 < gap < math.inf:
        return found
    return math.sqrt(found * gap / _GAP)
