"""`Passes`: what each step of a training without labels is given, and what it makes small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fewshot.runtimes.memory_order import MemoryOrder
from fewshot.transfer.body import Body
from fewshot.unsupervised.method import Method


class Passes:
    """The loss of each step: the pictures of its batch, their views, and what the method asks of these.

    Every pass goes through all pictures once, in an order of its own that follows from seed and pass; views follow from
    seed and step. So a step is the same wherever a run was resumed.

    Args:
        body: the network.
        method: what is minimised.
        take: inputs of pictures by their numbers.
        count: of pictures.
        steps: of a pass.
        change: draws a view of each picture of a batch; None: they stay as they are.
        seed: of orders and views.
    """

    def __init__(
        self, body: Body, method: Method, take: Callable[[Tensor], Tensor], count: int, steps: int,
        change: Callable[[Tensor, torch.Generator], Tensor] | None, seed: int,
    ) -> None:  # fmt: skip
        self.body, self.method, self.take, self.count = body, method, take, count
        self.steps, self.change, self.seed = steps, change, seed
        self._in_memory = MemoryOrder(body.network)
        self._pass = -1  # the pass that the parts are of
        self._parts: tuple[Tensor, ...] = ()

    def __call__(self, step: int, turn: int) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of a step."""
        number, part = divmod(step, self.steps)
        if number != self._pass:
            random = np.random.Generator(np.random.Philox(key=[self.seed, number]))
            order = torch.from_numpy(random.permutation(self.count))
            self._pass, self._parts = number, order.tensor_split(self.steps)
        generator = torch.Generator().manual_seed(self.seed + step)

        def view(pictures: Tensor) -> Tensor:
            return pictures if self.change is None else self.change(pictures, generator)

        found: tuple[Tensor, Tensor] = self.method(self._features, self.take(self._parts[part]), view)
        return found

    def _features(self, views: Tensor) -> Tensor:
        features: Tensor = self.body(self._in_memory(views, self.body))
        return features
