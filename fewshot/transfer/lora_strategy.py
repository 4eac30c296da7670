"""LoRA as a strategy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fewshot.transfer.lora import add_lora, merge_lora
from fewshot.transfer.stages import Stage
from fewshot.transfer.strategy import Strategy


class LoRA(Strategy):
    """Low-rank additions to the weights of linear layers and convolutions, merged into them in the end."""

    name = "lora"
    rates = (1e-3, 1e-3)

    def __init__(
        self,
        rank: int = 8,
        alpha: float | None = None,
        targets: Sequence[str] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
    ) -> None:
        super().__init__(epochs, lr, head_lr)
        self.rank, self.alpha = rank, alpha
        self.targets = [targets] if isinstance(targets, str) else targets

    def prepare(self, network: nn.Module, seed: int) -> None:
        """Add them."""
        add_lora(network, self.rank, self.alpha, self.targets, seed)

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """The additions."""
        used = {path for part in parts for name in part.parameters for path in [name.rpartition(".")[0]]}
        return {name for name, _ in network.named_parameters()
                if name.endswith((".A", ".B")) and ".parametrizations." in name
                and name.partition(".parametrizations.")[0] in used}  # fmt: skip

    def finish(self, network: nn.Module) -> None:
        """Merge them."""
        merge_lora(network)
