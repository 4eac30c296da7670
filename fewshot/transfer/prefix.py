"""`PrefixEncoder`: the frozen first stages of a network as an encoder, so that their output is cached."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from episodes.identity import describe, describe_architecture, digest_weights
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import evaluation_mode
from fewshot.transfer.body import Body
from fewshot.transfer.cut import Cut


class PrefixEncoder(Encoder):
    """What enters a stage of a network, flattened ``[B, D]``: activations kept like embeddings.

    Its identity covers the stages before the cut, not those behind it: networks that differ in their last stages
    share what is kept.

    Args:
        body: whose stages before the cut no longer change.
        cut: where they end.
    """

    def __init__(self, body: Body, cut: Cut) -> None:
        self.body, self.cut = body, cut
        self.module, self.transform = body.network, body.encoder.transform
        self.dim = math.prod(cut.shape)
        self.decoding = "full"  # as training reads pictures
        self.name = f"{body.encoder.name} before {cut.stages[cut.first].name}"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Architecture of the whole, weights of the prefix, the cut and the preprocessing, by value."""
        network = self.body.network
        before = [network.get_submodule(path) for part in self.cut.stages[: self.cut.first] for path in part.modules]
        within = {id(module) for part in before for module in part.modules()}
        loose = {
            f"{path}.{name}": describe(value.detach())
            for path, module in network.named_modules()
            if id(module) not in within
            for name, value in module.named_parameters(recurse=False)
            if any(f"{path}.{name}".removeprefix(".") in part.parameters for part in self.cut.stages[: self.cut.first])
        }
        return {
            "family": "prefix",
            "architecture": describe_architecture(network),
            "weights": [digest_weights(part) for part in before],
            "loose": loose,  # class tokens and positions, which lie between the stages
            "stage": self.cut.first,
            "preprocess": None if self.transform is None else describe(self.transform),
        }

    def encode_images(self, batch: Tensor) -> Tensor:
        """Activations ``[B, D]``."""
        with evaluation_mode(self.body.network):
            return self.cut.prefix(batch).flatten(1)
