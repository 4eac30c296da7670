"""`Tuning`: network and head while they are trained; what is frozen stays as it is, statistics and dropout too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.runtimes.memory_order import MemoryOrder
from fewshot.transfer.body import Body, plain_name, stage_of
from fewshot.transfer.cut import Cut
from fewshot.transfer.heads import Head
from fewshot.transfer.norms import keeps_statistics
from fewshot.transfer.stages import Stage


class Tuning(nn.Module):
    """A network and its head, of which some stages train.

    Args:
        body: the network; None where features are all there is.
        head: linear, features -> classes.
        parts: stages of the network.
        names: of all parameters that will train at any time.
        batch_norm: ``"frozen"`` or ``"train"``, of batch norms whose own scales train or whose stage is trained whole.
        cut: rows are the activations that cross it; None: they are the network's inputs.
        features: rows are the network's output.
    """

    def __init__(
        self, body: Body | None, head: Head, parts: Sequence[Stage], names: frozenset[str], batch_norm: str,
        cut: Cut | None = None, features: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.head, self.body = head, body
        self.objective: nn.Module | None = None  # of the present phase: its parameters train at the head's rate
        self._parts, self._names, self._batch_norm = list(parts), names, batch_norm
        self._cut, self.alone = cut, features or body is None  # whether the head trains alone, on features
        at = stage_of(parts)
        self._moving = {at[plain_name(name)] for name in names}  # stages that change
        self._ordered = None if body is None else MemoryOrder(body.network)
        self._now: frozenset[str] = frozenset()
        self.choose(names)

    def choose(self, names: frozenset[str] | set[str]) -> None:
        """From now on, these parameters train beside the head."""
        self._now = frozenset(names)
        if self.body is not None:
            for name, parameter in self.body.network.named_parameters():
                parameter.requires_grad_(name in self._now)
        if self.training:
            self.train()

    def features(self, batch: Any) -> Tensor:
        """What the head is given ``[B, D]``."""
        if self.alone or self._ordered is None:
            rows: Tensor = batch
        else:
            rows = self._network(self._ordered(batch, self._network))
        return rows

    def _network(self, batch: Any) -> Tensor:
        assert self.body is not None
        rows: Tensor = self.body(batch) if self._cut is None else self._cut.suffix(batch)
        return rows

    def forward(self, batch: Any) -> Tensor:
        """Logits ``[B, C]``."""
        logits: Tensor = self.head(self.features(batch))
        return logits

    def train(self, mode: bool = True) -> Tuning:
        """Training mode where something trains; evaluation mode everywhere else."""
        super().train(False)
        self.training = self.head.training = mode
        if self.objective is not None:
            self.objective.train(mode)
        if not mode or self.body is None:
            return self
        at = stage_of(self._parts)
        for place in {at[plain_name(name)] for name in self._now}:
            for path in self._parts[place].modules:
                self.body.network.get_submodule(path).train()
        for path, part in self.body.network.named_modules():
            if part.training and keeps_statistics(part):
                own = {f"{path}.{name}" for name, _ in part.named_parameters(recurse=False)}
                part.train(self._batch_norm == "train" and own <= self._now)
        return self

    def training_now(self) -> dict[str, Tensor]:
        """Parameters of the network that train at present, by name."""
        network = {} if self.body is None else dict(self.body.network.named_parameters())
        return {name: network[name] for name in sorted(self._now)}

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters that train at any time, by name: those of the head first."""
        named = {f"head.{name}": value for name, value in self.head.named_parameters()}
        if self.objective is not None:
            named |= {f"objective.{name}": value for name, value in self.objective.named_parameters()}
        network = [] if self.body is None else self.body.network.named_parameters()
        return named | {name: value for name, value in network if name in self._names}

    def groups(self, rates: Mapping[str, float], head_rate: float, decay: float) -> list[dict[str, Any]]:
        """Parameters by rate; vectors (biases, scales and shifts) do not decay."""
        made: dict[tuple[float, float], list[Tensor]] = {}
        for name, value in self.weights().items():
            rate = rates[name] if name in self._names else head_rate
            made.setdefault((rate, decay if value.ndim > 1 else 0.0), []).append(value)
        return [{"params": held, "lr": rate, "weight_decay": own} for (rate, own), held in made.items()]

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Tensors of the head and of the stages that change."""
        return {name: value for name, value in super().state_dict(*args, **options).items() if self._kept(name)}

    def load_state_dict(self, state: Mapping[str, Any], *args: Any, **options: Any) -> Any:  # type: ignore[override]
        """Put them back."""
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise RuntimeError(f"there is no {missing[0]}")
        return super().load_state_dict(state, strict=False)

    def __repr__(self) -> str:
        return f"tuning of {self.body!r}"

    def _kept(self, name: str) -> bool:
        if name.startswith(("head.", "objective.")):
            return True
        own = name.removeprefix("body.network.")
        names = [path for place in self._moving for path in self._parts[place].modules]
        inside = any(not path or own.startswith(f"{path}.") for path in names)
        return name.startswith("body.network.") and (inside or own in self._names)


def accuracy(tuning: Tuning, rows: Any, labels: Tensor, batch: int, device: torch.device) -> float:
    """Share of rows whose largest logit is that of their label, in evaluation mode."""
    tuning.eval()
    right = 0
    with torch.no_grad():
        for part in torch.arange(len(labels)).split(batch):
            right += int((tuning(rows.take(part, device)).argmax(1).cpu() == labels[part]).sum())
    return right / len(labels)
