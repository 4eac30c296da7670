"""`WorkingCopy`: the copy of an encoder that a training changes, and what it was before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fewshot.encoders.encoder import Encoder
from fewshot.transfer.body import Anatomy, Body, examine
from fewshot.transfer.copying import clones, copied, interpolate
from fewshot.transfer.strategies import Strategy


class WorkingCopy:
    """A copy of an encoder, to be trained.

    Args:
        given: the encoder, which is not changed.
        kind: of the rows, ``"images"`` or ``"texts"``.
        device: of the copy.
        trains: whether its network does; a head alone needs features, not even a network that could be trained.

    Attributes:
        model: the copy.
        body: the same as a network that has gradients, or None if it does not train.

    Raises:
        ValueError: the encoder has no network, or none that can be trained on such rows.
    """

    def __init__(self, given: Encoder, kind: str, device: torch.device, trains: bool = True) -> None:
        self.body = Body(given, kind) if trains else None
        self.model = (copied(given) if self.body is None else self.body.encoder).to(device)
        network = self.model.module  # of which the network that runs on these rows may be one tower
        self._learned = [] if network is None else [value.requires_grad for value in network.parameters()]
        self._before = {} if network is None else clones(network)

    def parameters(self) -> dict[str, Tensor]:
        """Copies of the parameters of the network that trains, by name; empty if none does."""
        if self.body is None:
            return {}
        return {name: value.detach().clone() for name, value in self.body.network.named_parameters()}

    def anatomy(self, example: Any, phases: Sequence[Strategy]) -> Anatomy:
        """The stages of the network, as a batch shows them; none if it does not train.

        Raises:
            ValueError: no gradient reaches any parameter, or a strategy counts blocks where there are none.
        """
        if self.body is None:
            return Anatomy([], [])
        found = examine(self.body, example)
        if found.problem and any(phase.blocks for phase in phases):
            raise ValueError(found.problem)
        return found

    def finish(self, wise: float | None = None) -> list[str]:
        """Interpolate with what it was, and put modes back; returns the names of the tensors that are not as before.

        Args:
            wise: share of what was trained, in a WiSE-FT interpolation, or None.
        """
        network = self.model.module
        if network is None:
            return []
        if wise is not None:
            network.load_state_dict(interpolate(self._before, network.state_dict(), wise))
        network.eval()
        for value, mode in zip(network.parameters(), self._learned, strict=True):
            value.requires_grad_(mode)
        return [name for name, value in network.state_dict().items() if not torch.equal(value, self._before[name])]
