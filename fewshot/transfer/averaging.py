"""Stochastic weight averaging: the running mean of weights over epochs, and statistics of batches to match it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.transfer.norms import keeps_statistics
from fewshot.transfer.tuning import Tuning


class Averaged(nn.Module):
    """A `Tuning` with the running mean of the weights that it trains, which is kept in checkpoints like its weights.

    After n calls of `add`: ``mean = (w_1 + ... + w_n) / n``, of the head and of every parameter that trains at any
    time. Of LoRA these are the factors A and B.

    Args:
        tuning: network and head, trained in place.

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging weights leads to wider optima and better
    generalization", UAI 2018, arXiv:1803.05407.
    """

    count: Tensor

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.tuning = tuning
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._means = {name: torch.zeros_like(value) for name, value in tuning.weights().items()}

    @torch.no_grad()
    def add(self) -> None:
        """Take the present weights into the mean."""
        self.count += 1
        for name, value in self.tuning.weights().items():
            self._means[name] += (value - self._means[name]) / int(self.count)

    @torch.no_grad()
    def put(self) -> None:
        """Give the tuning the mean for its weights."""
        for name, value in self.tuning.weights().items():
            value.copy_(self._means[name])

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Tensors of the tuning, the mean, and how many weights are in it."""
        means = {f"mean.{name}": value for name, value in self._means.items()}
        return {**self.tuning.state_dict(*args, **options), **means, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any], *args: Any, **options: Any) -> Any:  # type: ignore[override]
        """Put them back."""
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise RuntimeError(f"there is no {missing[0]}")
        self.count.copy_(state["count"])
        for name, value in self._means.items():
            value.copy_(state[f"mean.{name}"])
        own = {name: value for name, value in state.items() if name != "count" and not name.startswith("mean.")}
        return self.tuning.load_state_dict(own)


@torch.no_grad()
def renew_statistics(tuning: Tuning, batches: Iterable[Any]) -> None:
    """Batch norms that train with statistics of the batch take their running ones anew; the rest is in evaluation mode.

    Batch i = 0, 1, ... counts ``1 / (i + 1)``, so that each counts the same in the end. Averaged weights need this:
    running statistics follow the weights of each step, not their mean.

    Args:
        tuning: its network is changed in place.
        batches: inputs of all rows, each batch drawn from all classes.
    """
    tuning.train()
    norms: list[Any] = [part for part in tuning.modules() if part.training and keeps_statistics(part)
                        and hasattr(part, "momentum")]  # fmt: skip
    tuning.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        for number, batch in enumerate(batches):
            for norm in norms:
                norm.train()
                norm.momentum = 1 / (number + 1)
            tuning(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        tuning.eval()
