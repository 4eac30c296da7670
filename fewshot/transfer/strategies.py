"""Strategies: how much of a network is trained. A new one is a class and its line in `ENTRIES`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fewshot.registry import Registry, build_call, parse_call
from fewshot.transfer.clip_lora import ClipLoRA
from fewshot.transfer.lora_strategy import LoRA
from fewshot.transfer.norms import is_norm, reset_norm
from fewshot.transfer.prompt import Prompt
from fewshot.transfer.set_fit import SetFit
from fewshot.transfer.stages import Stage
from fewshot.transfer.strategy import Strategy as Strategy


class LinearProbe(Strategy):
    """The network is frozen; the head alone is trained.

    Reference: Kornblith, Shlens, Le, "Do better ImageNet models transfer better?", CVPR 2019, arXiv:1805.08974.
    """

    name, frozen = "linear-probe", True

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """Nothing of the network."""
        return set()


class Last(Strategy):
    """The last k stages.

    Reference: Yosinski, Clune, Bengio, Lipson, "How transferable are features in deep neural networks?", NeurIPS
    2014, arXiv:1411.1792.
    """

    name, blocks = "last", True

    def __init__(
        self, k: int = 1, epochs: int | None = None, lr: float | None = None, head_lr: float | None = None
    ) -> None:
        super().__init__(epochs, lr, head_lr)
        if isinstance(k, bool) or int(k) != k or k < 1:
            raise ValueError(f"last({k!r}); it trains at least one stage. 'linear-probe' trains the head alone.")
        self.k = int(k)

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """The parameters of the last k stages."""
        if self.k > len(parts):
            names = ", ".join(part.name for part in parts)
            raise ValueError(f"last({self.k}), but there are {len(parts)} stages ({names}); 'full' trains all.")
        return {name for part in parts[-self.k :] for name in part.parameters}


class Full(Strategy):
    """The whole network."""

    name = "full"

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """All parameters."""
        return {name for part in parts for name in part.parameters}


class Scratch(Full):
    """The architecture alone: all weights drawn anew, and trained."""

    name, pretrained = "scratch", False
    rates = (2e-3, 2e-3)

    def prepare(self, network: nn.Module, seed: int) -> None:
        """Draw all weights anew, each module as it says itself."""
        from fewshot.randomness import seeded

        with seeded(next(network.parameters()).device, seed):
            for part in network.modules():
                reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
                if callable(reset):
                    reset()
                elif is_norm(part):
                    reset_norm(part)
                else:
                    for value in part.parameters(recurse=False):  # class tokens, positions and the like
                        nn.init.trunc_normal_(value, std=0.02)


class Norm(Strategy):
    """Scales and shifts of the normalisation layers.

    Reference: Frankle, Schwab, Morcos, "Training BatchNorm and only BatchNorm", ICLR 2021, arXiv:2003.00152.
    """

    name = "norm"
    rates = (1e-3, 1e-3)

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """The parameters of normalisation layers."""
        known = {name for part in parts for name in part.parameters}
        found = {f"{path}.{own}" if path else own for path, part in network.named_modules()
                 if is_norm(part) for own, _ in part.named_parameters(recurse=False)} & known  # fmt: skip
        if not found:
            raise ValueError(f"'norm', but {type(network).__name__} has no normalisation layer with weights.")
        return found


class Bias(Strategy):
    """All biases (BitFit).

    Reference: Ben Zaken, Goldberg, Ravfogel, "BitFit: simple parameter-efficient fine-tuning for transformer-based
    masked language-models", ACL 2022, arXiv:2106.10199.
    """

    name = "bias"
    rates = (1e-3, 1e-3)

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """The parameters called bias."""
        found = {name for part in parts for name in part.parameters if name.rpartition(".")[2].endswith("bias")}
        if not found:
            raise ValueError(f"'bias', but {type(network).__name__} has no biases.")
        return found


class Gradual(Strategy):
    """From the top down, one more stage every so many epochs; the head from the beginning.

    Epoch 0 trains the head and the last stage; epoch e the last ``1 + e // every``.

    Reference: Howard, Ruder, "Universal language model fine-tuning for text classification", ACL 2018,
    arXiv:1801.06146.
    """

    name, blocks = "gradual", True

    def __init__(
        self, every: int = 1, epochs: int | None = None, lr: float | None = None, head_lr: float | None = None
    ) -> None:
        super().__init__(epochs, lr, head_lr)
        if isinstance(every, bool) or int(every) != every or every < 1:
            raise ValueError(f"gradual(every={every!r}); it must be an integer of at least 1.")
        self.every = int(every)

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """The parameters of the stages unfrozen by then."""
        count = min(1 + epoch // self.every, len(parts))
        return {name for part in parts[-count:] for name in part.parameters}


ENTRIES = {
    kind.name: f"{kind.__module__}:{kind.__name__}"
    for kind in (LinearProbe, Last, Full, Scratch, Norm, Bias, LoRA, Gradual, SetFit, Prompt, ClipLoRA)
} | {"lp-ft": f"{__name__}:probe_first"}
STRATEGIES = Registry("strategy", ENTRIES, "fewshot.strategies")


def list_strategies() -> list[str]:
    """Names of all strategies, built-in and installed."""
    return STRATEGIES.names()


def load_strategies(spec: str | Strategy | Sequence[Strategy]) -> list[Strategy]:
    """The strategies that a spec names, in sequence.

    ``lp-ft(lr=...)`` stands for ``linear-probe | full(lr=..., head_lr=...)``: a head that fits the features keeps
    them from being distorted (Kumar, Raghunathan, Jones, Ma, Liang, "Fine-tuning can distort pretrained features and
    underperform out-of-distribution", ICLR 2022, arXiv:2202.10054).

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_strategies("linear-probe | last(3, lr=1e-4)")
    [linear-probe, last(k=3, lr=0.0001)]
    """
    if isinstance(spec, Strategy):
        return [spec]
    if not isinstance(spec, str):
        return list(spec)
    found: list[Strategy] = []
    for part in spec.split("|"):
        name, positional, named = parse_call(part)
        made = build_call(STRATEGIES.get(name), name, positional, named)
        found += made if isinstance(made, list) else [made]
    if any(not strategy.pretrained for strategy in found[1:]):
        raise ValueError(f"{spec!r}: 'scratch' draws all weights anew, so it can only come first.")
    return found


def probe_first(epochs: int | None = None, lr: float | None = None, head_lr: float | None = None) -> list[Strategy]:
    """First the head alone, then all (``lp-ft``): a head that fits already need not move faster than the network."""
    return [LinearProbe(), Full(epochs, lr, head_lr or lr or Full.rates[0])]
