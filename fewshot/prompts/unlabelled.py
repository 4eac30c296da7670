"""What unlabelled rows show about prompts: which templates fit them, and which classes are favoured unduly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_CHUNK = 1024


def zero_shot_weights(rows: Tensor, each: Tensor, scale: float, mean: Tensor | None = None) -> Tensor:
    """Weights of templates ``[T]`` by how sure they are of unlabelled rows, once their common bias is gone (ZPE).

    ``w = softmax_t(mean_i max_c (L_itc - L̄_tc))`` with ``L = scale cos`` and ``L̄`` its mean over the rows (and half of
    it over general images, where their mean vector is known). Without the subtraction a template of frequent words
    wins whatever the images are.

    Args:
        rows: unlabelled features ``[M, D]``; some dozens at least.
        each: unit vectors of the classes under each template ``[C, T, D]``.
        scale: the model's.
        mean: mean unit vector of general images ``[D]``.

    Reference: Allingham et al., "A simple zero-shot prompt weighting technique to improve prompt ensembling in
    text-image models", ICML 2023, arXiv:2302.06235.
    """
    units = normalize(rows.float(), dim=-1)
    flat = each.flatten(0, 1)  # [C T, D]
    centre = units.mean(0) if mean is None else (units.mean(0) + mean) / 2
    total = torch.zeros(each.shape[1])
    for start in range(0, len(units), _CHUNK):
        logits = scale * (units[start : start + _CHUNK] - centre) @ flat.T
        total += logits.view(-1, *each.shape[:2]).amax(1).sum(0)
    return (total / len(units)).softmax(0)


def class_weights(rows: Tensor, each: Tensor, scale: float, temperature: float = 1.0) -> Tensor:
    """Weights of templates for each class ``[C, T]``, from the rows that each template gives to the class (CARPRT).

    ``M_ct`` is the mean over rows with ``argmax_c L_itc = c`` of that logit; ``w_c = softmax_t(M_ct / temperature)``. A
    class that gets no row under some template keeps the template's mean over the classes.

    Args:
        rows: unlabelled features ``[M, D]``.
        each: unit vectors of the classes under each template ``[C, T, D]``.
        scale: the model's.
        temperature: of the softmax.

    Reference: Xu et al., "CARPRT: class-aware zero-shot prompt reweighting for vision-language models", 2025.
    """
    units = normalize(rows.float(), dim=-1)
    classes, templates = each.shape[:2]
    total, count = torch.zeros(classes, templates), torch.zeros(classes, templates)
    for start in range(0, len(units), _CHUNK):
        logits = (scale * units[start : start + _CHUNK] @ each.flatten(0, 1).T).view(-1, classes, templates)
        best, place = logits.max(1)  # [M, T]
        total.scatter_add_(0, place, best)
        count.scatter_add_(0, place, torch.ones_like(best))
    mean = total / count.clamp(min=1)
    of_template = total.sum(0) / count.sum(0).clamp(min=1)
    return (torch.where(count > 0, mean, of_template) / temperature).softmax(1)


def without_label_bias(logits: Tensor) -> Tensor:
    """Logits less the log of how often each class would be predicted if all were equally frequent ``[M, C]``.

    Row c of the confusion matrix is the mean prediction of the rows that are most likely c; its stationary vector
    is the model's own preference. All rows are used together, so a prediction depends on the others.
    """
    probabilities = logits.softmax(-1)
    guess = torch.nn.functional.one_hot(probabilities.argmax(-1), logits.shape[1]).to(probabilities)
    count = guess.sum(0)
    confusion = (guess.T @ probabilities) / count.clamp(min=1).unsqueeze(1)
    confusion = torch.where((count > 0).unsqueeze(1), confusion, torch.full_like(confusion, 1 / logits.shape[1]))
    favour = torch.full_like(count, 1 / logits.shape[1])
    for _ in range(50):
        favour = 0.5 * (favour + favour @ confusion)
    return logits - favour.clamp(min=1e-9).log()
