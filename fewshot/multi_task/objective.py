"""What a step of multi-task training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.multi_task.batches import epoch_batches
from fewshot.multi_task.heads import TaskHeads
from fewshot.multi_task.sampling import Sampling
from fewshot.multi_task.tasks import JoinedRows
from fewshot.multi_task.weighting import Weighting
from fewshot.transfer.body import plain_name, stage_of
from fewshot.transfer.objective import Objective
from fewshot.transfer.settings import Settings
from fewshot.transfer.stages import Stage
from fewshot.transfer.tuning import Tuning


class TaskObjective(Objective):
    """The cross-entropies of the tasks in a batch, sampled by one rule and weighed by another.

    Args:
        how: the settings.
        rows: of all tasks.
        labels: of each task ``[M_t]``.
        sampling: how often rows of each task come.
        weighting: how the losses become one.
        epochs: of this phase.
        parts: stages of the network.
        device: of network and heads.
    """

    def __init__(
        self, how: Settings, rows: JoinedRows, labels: Sequence[Tensor], sampling: Sampling, weighting: Weighting,
        epochs: int, parts: Sequence[Stage], device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__(how, rows, torch.cat(list(labels)), device)
        self.sizes, self.epochs = [len(part) for part in labels], epochs
        self.sampling, self.weighting = sampling, weighting
        self._stages = stage_of(parts)
        weighting.begin(len(self.sizes))

    def parts(self, epoch: int, batches: int) -> tuple[Tensor, ...]:
        """The rows of an epoch, as many as all tasks have, in batches of nearly equal size."""
        shares = self.sampling.shares(self.sizes, min(epoch, self.epochs - 1), self.epochs)
        return epoch_batches(shares, self.sizes, batches, self.how.seed, epoch)

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss of a batch, and the accuracy of each row by its own head."""
        batch = self.rows.take(chosen, self.device)
        if self.how.augment is not None:
            batch = self.how.augment(batch, torch.Generator().manual_seed(self.how.seed + step))
        features = tuning(batch)  # [B, D]
        task_of = torch.bucketize(chosen, self.rows.offsets[1:], right=True)  # ascending [B]
        counts = torch.bincount(task_of, minlength=len(self.sizes))
        present = [task for task, count in enumerate(counts.tolist()) if count]
        split = counts[present].tolist()
        own, wanted = features.split(split), self._answers[chosen.to(self.device)].split(split)
        where = torch.tensor(present, device=self.device)
        shares = torch.tensor(split, device=self.device) / len(chosen)
        logits = _logits(tuning, present, own)
        losses = self._losses(logits, wanted)

        def gradients(last: bool) -> list[list[Tensor]]:
            return _gradients(losses, self._trained(tuning, last))

        factors = self.weighting.factors(shares, gradients, (self.how.seed, step))
        if factors is None:
            total = self.weighting.loss(losses, shares, where)
        else:
            scaled = [_scaled(part, factor) for part, factor in zip(own, factors, strict=True)]
            total = self.weighting.loss(self._losses(_logits(tuning, present, scaled), wanted), shares, where)
        self.weighting.update(losses.detach(), where, gradients)
        right = torch.cat([given.argmax(-1) == target for given, target in zip(logits, wanted, strict=True)])
        return total, right.float().mean()

    def _losses(self, logits: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Cross-entropies of the tasks that are present ``[T']``."""
        smoothing = self.how.label_smoothing
        return torch.stack(
            [F.cross_entropy(given.float(), target, label_smoothing=smoothing)
             for given, target in zip(logits, wanted, strict=True)]
        )  # fmt: skip

    def _trained(self, tuning: Tuning, last: bool) -> list[Tensor]:
        """Parameters of the network that train at present, or those of the last stage that has such."""
        found = tuning.training_now()
        if not last or not found:
            return list(found.values())
        place = max(self._stages[plain_name(name)] for name in found)
        return [value for name, value in found.items() if self._stages[plain_name(name)] == place]


def _logits(tuning: Tuning, present: Sequence[int], features: Sequence[Tensor]) -> list[Tensor]:
    """Logits of each task's rows by its own head."""
    heads: TaskHeads = tuning.head  # type: ignore[assignment]
    return [heads.logits(task, part) for task, part in zip(present, features, strict=True)]


def _gradients(losses: Tensor, parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Gradients of each loss, by parameter; none where there are no parameters."""
    if not parameters:
        return []
    with torch.enable_grad():
        found = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in losses]
    return [
        [torch.zeros_like(value) if part is None else part for part, value in zip(parts, parameters, strict=True)]
        for parts in found
    ]


def _scaled(features: Tensor, factor: Tensor) -> Tensor:
    """The same features, whose gradient is multiplied by a factor."""
    return features.detach() + factor.to(features) * (features - features.detach())
