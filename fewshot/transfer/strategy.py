"""`Strategy`: what every way to train a network has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from fewshot.registry import argument_names
from fewshot.transfer.objective import Objective
from fewshot.transfer.stages import Stage

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.transfer.settings import Settings


class Strategy:
    """What is trained, at which rates, for how long.

    Args:
        epochs: passes over the rows; None: what `fine_tune` is given, or chooses.
        lr: rate of the network; None: what `fine_tune` is given, or the strategy's own.
        head_lr: rate of the head, likewise.

    Class attributes:
        name: in spec strings.
        rates: its own rates of network and head.
        pretrained: whether it begins with the encoder's weights.
        blocks: whether it counts blocks, so that the network must show them.
        frozen: whether it leaves the network as it is, so that features are all that it needs.
        own_epochs: passes where nothing else says how many; None: by the number of rows.
    """

    name: ClassVar[str] = ""
    rates: ClassVar[tuple[float, float]] = (1e-4, 1e-3)
    pretrained: ClassVar[bool] = True
    blocks: ClassVar[bool] = False
    frozen: ClassVar[bool] = False
    own_epochs: ClassVar[int | None] = None

    def __init__(self, epochs: int | None = None, lr: float | None = None, head_lr: float | None = None) -> None:
        for what, value in (("epochs", epochs), ("lr", lr), ("head_lr", head_lr)):
            if value is not None and not value > 0:
                raise ValueError(f"{self.name}({what}={value!r}); it must be positive.")
        self.epochs, self.lr, self.head_lr = epochs, lr, head_lr

    def prepare(self, network: nn.Module, seed: int) -> None:
        """Change a copy of the network before it is trained, in place."""

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """Names of the parameters that are trained in an epoch, as `prepare` left them."""
        raise NotImplementedError

    def finish(self, network: nn.Module) -> None:
        """Undo in the trained network, in place, what `prepare` added to it."""

    def check(self, how: Settings) -> None:
        """Refuse settings that make no sense with it, by a ValueError."""

    def draws(self, rows: int) -> int:
        """What an epoch draws from M rows; a step takes a batch of these."""
        return rows

    def on_top(self, width: int, classes: int, encoder: Encoder) -> tuple[str, int, int]:
        """What trains behind features ``[D]``: its name in the plan, numbers held and numbers trained."""
        count = width * classes + classes
        return "head", count, count

    def objective(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Encoder, names: Sequence[str]
    ) -> Objective:
        """What its steps minimise; arguments as `Objective` takes them, and the copied encoder and class names."""
        return Objective(how, rows, labels, device)

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)!r}" for name in argument_names(type(self))
                 if getattr(self, name) is not None]  # fmt: skip
        return self.name + (f"({', '.join(given)})" if given else "")
