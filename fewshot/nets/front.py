"""Trainable networks in front of a learner: ``conv4 | prototypes`` is a prototypical network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Support
from fewshot.learner import State
from fewshot.nets.conv4 import Conv4
from fewshot.nets.mlp import MLP
from fewshot.nets.norm import TaskNorm, statistics_from
from fewshot.nets.resnet12 import ResNet12
from fewshot.transforms import Transform


class NetFront(Transform):
    """Maps rows by a network with weights, which `meta_train` trains together with what stands behind it.

    Where the network normalises by statistics of the task (`TaskNorm`), these are the support's, of each episode by
    itself: a query's features depend on neither the other queries nor the other episodes.
    """

    inputs: ClassVar[str] = "images"
    net: nn.Module
    item_shape: tuple[int, ...]

    def adapt(self, support: Support) -> State:
        """The support that statistics are taken of, and which of its rows are real; nothing where none are taken."""
        if not self._by_task():
            return super().adapt(support)
        if not support.support.shape[1]:
            raise ValueError(
                f"{self!r} normalises by the support of each episode, but there is none (shot = 0); use norm='batch' "
                "or norm='group'."
            )
        return {"support": support.support, "real": (support.labels >= 0).to(support.support.dtype)}

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Features ``[E, R, *x] -> [E, R, D]``; with None for the state, rows give the statistics themselves."""
        episodes, count = rows.shape[:2]
        if not count:
            return rows.new_zeros(episodes, 0, self.net.dim)  # type: ignore[call-overload]
        if tuple(rows.shape[2:]) != self.item_shape:
            raise ValueError(self._other_rows(tuple(rows.shape[2:])))
        if not self._by_task():
            features: Tensor = self.net(rows.flatten(0, 1))
            return features.view(episodes, count, -1)
        weights = rows.new_ones(episodes, count) if state is None else state["real"]
        alone = state is None or _same_rows(rows, state["support"])
        if not alone:
            rows = torch.cat([state["support"], rows], 1)
            weights = torch.cat([weights, weights.new_zeros(episodes, count)], 1)  # [E, S + R]
        with statistics_from(weights):
            features = self.net(rows.flatten(0, 1)).view(*rows.shape[:2], -1)
        return features[:, -count:]

    def _other_rows(self, shape: tuple[int, ...]) -> str:
        """What to do about rows of another shape than the network was made for."""
        rows = f"rows are {list(shape)}"
        if self.inputs == "images" and len(shape) == 1:
            return (
                f"{rows}, which are features, but {self.name} learns from pictures [C, H, W]; give the pictures "
                f'themselves, without an encoder, or take a network for features: "mlp(item_shape={shape})".'
            )
        if self.inputs == "features" and len(shape) == 3:
            return (
                f"{rows}, which are pictures, but {self.name} learns from features [D]; take "
                f'"conv4(item_shape={shape})" in its place, or embed them first.'
            )
        return (
            f"{rows}, but this {self.name} was made for items of {list(self.item_shape)}; "
            f'write "{self.name}(item_shape={shape})".'
        )

    def _by_task(self) -> bool:
        parts = list(self.net.modules())
        for part in parts:
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
                raise ValueError(
                    f"{self!r} holds a {type(part).__name__} without running statistics, which normalises by the other "
                    "queries and episodes of a batch; use fewshot.nets.norm.TaskNorm, or track_running_stats=True."
                )
        return any(isinstance(part, TaskNorm) for part in parts)


def _same_rows(rows: Tensor, others: Tensor) -> bool:
    """Whether two tensors are one in memory, so that their rows need not go through the net twice."""
    return rows.shape == others.shape and rows.stride() == others.stride() and rows.data_ptr() == others.data_ptr()


class Conv4Front(NetFront):
    """Conv-4 in front of a learner; see `fewshot.nets.conv4.Conv4`.

    Args:
        item_shape: ``(channels, height, width)`` of the pictures.
        channels: of every block.
        norm: ``"batch"``, ``"task"``, ``"group"`` or ``"none"``.

    Example:
        >>> from fewshot import load_learner
        >>> learner = load_learner("conv4(item_shape=(1, 16, 16)) | prototypes")
        >>> sum(weights.numel() for weights in learner.parameters())
        111936
    """

    name: ClassVar[str] = "conv4"

    def __init__(self, item_shape: tuple[int, ...] = (1, 28, 28), channels: int = 64, norm: str = "batch") -> None:
        super().__init__()
        self.item_shape, self.channels, self.norm = item_shape, channels, norm
        self.net = Conv4(item_shape, channels, norm=norm)


class ResNet12Front(NetFront):
    """ResNet-12 in front of a learner; see `fewshot.nets.resnet12.ResNet12`.

    Args:
        item_shape: ``(channels, height, width)`` of the pictures.
        widths: channels of the blocks.
        drop: share that DropBlock takes.

    Example:
        >>> from fewshot import load_learner
        >>> learner = load_learner("resnet12(item_shape=(1, 28, 28), widths=(4, 8, 16, 32)) | prototypes")
        >>> sum(weights.numel() for weights in learner.parameters())
        31720
    """

    name: ClassVar[str] = "resnet12"

    def __init__(
        self,
        item_shape: tuple[int, ...] = (3, 84, 84),
        widths: tuple[int, ...] = (64, 160, 320, 640),
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.item_shape, self.widths, self.drop = item_shape, widths, drop
        self.net = ResNet12(item_shape, widths, drop=drop)


class MLPFront(NetFront):
    """A perceptron in front of a learner, on features; see `fewshot.nets.mlp.MLP`.

    Args:
        item_shape: ``(D,)``.
        widths: of its layers.

    Example:
        >>> from fewshot import load_learner
        >>> learner = load_learner("mlp(item_shape=(64,), widths=(32,)) | prototypes")
        >>> sum(weights.numel() for weights in learner.parameters())
        2080
    """

    name: ClassVar[str] = "mlp"
    inputs: ClassVar[str] = "features"

    def __init__(self, item_shape: tuple[int, ...] = (512,), widths: tuple[int, ...] = (256, 128)) -> None:
        super().__init__()
        self.item_shape, self.widths = item_shape, widths
        self.net = MLP(item_shape, widths)
