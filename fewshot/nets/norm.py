"""Batch normalisation: the usual one, and one of each episode that is exact to second order under `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("batch", "task", "group", "none")
_weights: ContextVar[Tensor | None] = ContextVar("rows that statistics are taken from", default=None)


@contextmanager
def statistics_from(weights: Tensor) -> Iterator[None]:
    """Meanwhile `TaskNorm` takes its statistics from weighted rows: ``[E, R]`` for input of E R rows, by episode.

    With 1 for the support and 0 for padding and queries, an answer depends on the support alone.
    """
    token = _weights.set(weights)
    try:
        yield
    finally:
        _weights.reset(token)


class BatchNorm(nn.Module):
    """``y = weight (x - mean) / sqrt(var + eps) + bias`` per channel.

    Mean and variance are those of the batch in training, running ones afterwards. An inner loop cannot run it: torch's
    derivative rules of it are wrong to second order under `vmap` (by up to two per cent, silently), and running
    statistics would go from episode to episode. `TaskNorm` is for that.

    Args:
        channels: second dimension of the input.
        momentum: share of the newest batch in the running statistics.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C, *x]``."""
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, self.training, self.momentum, self.eps)


class TaskNorm(nn.Module):
    """Batch normalisation without memory: statistics of the rows at hand, of each episode by itself.

    Which rows count, and where an episode ends, is given by `statistics_from`; without it the input is one episode, and
    all rows count. Nothing is kept, so it runs under any transform of `torch.func`, and an episode never depends on
    another.

    Args:
        channels: second dimension of the input.
        eps: added to the variance.

    Reference: Bronskill, Gordon, Requeima, Nowozin, Turner, "TaskNorm: rethinking batch normalization for
    meta-learning", ICML 2020, arXiv:2003.03284 (its "MetaBN").
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[E R, C, *x]``."""
        weights = _weights.get()
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))  # sums of squares leave half precision
        weights = x.new_ones(1, len(x)) if weights is None else weights.to(x.dtype)
        episodes, rows = weights.shape
        each = x.unflatten(0, (episodes, rows))  # [E, R, C, *P]
        shape = [episodes, 1, -1, *[1] * (x.ndim - 2)]
        share = (weights / weights.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1)  # [E, R, 1]
        mean = (_over_pixels(each) * share).sum(1).view(shape)
        centred = each - mean
        variance = (_over_pixels(centred.square()) * share).sum(1).view(shape)  # [E, 1, C, 1, ...]
        scale = self.weight.view(shape[1:]) * (variance + self.eps).rsqrt()
        return (centred * scale + self.bias.view(shape[1:])).flatten(0, 1).to(given)


def _over_pixels(each: Tensor) -> Tensor:
    return each.mean(list(range(3, each.ndim))) if each.ndim > 3 else each  # [E, R, C]


def make_norm(kind: str, channels: int) -> nn.Module:
    """A norm by name: ``"batch"``, ``"task"``, ``"group"`` (8 channels each) or ``"none"``.

    Raises:
        ValueError: another name.
    """
    if kind not in NORMS:
        raise ValueError(f"norm={kind!r}; it must be one of {', '.join(NORMS)}.")
    if kind == "group":
        return nn.GroupNorm(max(1, channels // 8), channels)
    return {"batch": BatchNorm, "task": TaskNorm}[kind](channels) if kind != "none" else nn.Identity()


def check_norms(net: nn.Module, second_order: bool) -> None:
    """Refuse norms of torch whose second derivatives are wrong under `vmap`.

    Raises:
        ValueError: the net holds one; the message says which to take instead.
    """
    wrong = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    for name, part in net.named_modules():
        if isinstance(part, wrong) or (isinstance(part, BatchNorm) and second_order):
            raise ValueError(
                f"{name or 'the net'} is a {type(part).__name__}, which an inner loop cannot run: torch's own gives "
                "wrong second-order gradients under vmap without a word, and one with running statistics would carry "
                "them from episode to episode. Use fewshot.nets.norm.TaskNorm (norm='task'), GroupNorm or LayerNorm."
            )
