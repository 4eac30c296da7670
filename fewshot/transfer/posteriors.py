"""LEEP and NCE: how well the source classes of a network tell the target classes."""

from __future__ import annotations

from typing import Any

import torch

from fewshot.transfer.rows import checked_labels, checked_rows


def leep(posteriors: Any, labels: Any) -> float:
    """Mean log likelihood of the labels under the source network and an empirical table of classes, at most 0.

    ``1/M sum_i log sum_z P(y_i | z) theta(x_i)_z`` with ``P(y, z) = 1/M sum_i [y_i = y] theta(x_i)_z``.

    Args:
        posteriors: probabilities of the source classes ``[M, Z]``, each row of sum 1.
        labels: target class of each row ``[M]``.

    Raises:
        ValueError: rows are no probabilities, shapes disagree, or there is only one class.

    Reference: Nguyen, Hassner, Seeger, Archambeau, "LEEP: a new measure to evaluate transferability of learned
    representations", ICML 2020, arXiv:2002.12462.
    """
    theta = checked_rows(posteriors, "posteriors")
    sums = theta.sum(1)
    if theta.min() < 0 or (sums - 1).abs().max() > 1e-3:
        raise ValueError(
            f"posteriors range from {theta.min():.3g}, with row sums {sums.min():.3g} to {sums.max():.3g}; they must "
            "be probabilities: softmax the logits first."
        )
    numbers = checked_labels(labels, len(theta)).to(theta.device)
    joint = torch.nn.functional.one_hot(numbers).to(theta).mT @ theta / len(theta)  # [C, Z]
    table = joint / joint.sum(0).clamp(min=torch.finfo(theta.dtype).tiny)  # P(y | z)
    return float((theta @ table.mT).gather(1, numbers[:, None]).log().mean())


def nce(source_labels: Any, labels: Any) -> float:
    """Minus the conditional entropy ``H(y | z)`` of the labels given the source classes, in nats, at most 0.

    Args:
        source_labels: source class of each row ``[M]``, such as the network's own answers.
        labels: target class of each row ``[M]``.

    Raises:
        ValueError: lengths disagree, or there is only one target class.

    Reference: Tran, Nguyen, Hassner, "Transferability and hardness of supervised classification tasks", ICCV 2019,
    arXiv:1908.08142.
    """
    numbers = checked_labels(labels, len(labels))
    _, given = torch.unique(torch.as_tensor(source_labels), return_inverse=True)
    if given.shape != numbers.shape:
        raise ValueError(
            f"source_labels are {list(given.shape)} and labels {list(numbers.shape)}; give one of each a row."
        )
    count = torch.zeros(int(numbers.max()) + 1, int(given.max()) + 1, dtype=torch.float64)
    count.index_put_((numbers, given.cpu()), torch.ones(len(numbers), dtype=torch.float64), accumulate=True)
    joint = count / count.sum()
    return float((joint * (joint / joint.sum(0)).clamp(min=torch.finfo(joint.dtype).tiny).log()).sum())
