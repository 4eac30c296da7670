"""The episodes that contract checks use, and how their logits are compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner


class Skip(Exception):
    """The check does not apply here."""


class Exam:
    """A learner with the episodes it is checked on.

    Attributes:
        learner: a copy of the learner, in evaluation mode.
        episode: three separable 3-way 4-shot episodes with 6 queries, support and queries in random order.
        targets: their answer key ``[E, Q]``.
    """

    def __init__(self, learner: Learner, item_shape: Sequence[int] | None, seed: int) -> None:
        self.learner, self.seed = learner, seed
        default = (8,) if getattr(learner, "inputs", "features") == "features" else (1, 28, 28)
        self.item_shape = tuple(item_shape or default)
        self.episode, self.targets = self.make()

    def make(
        self, way: int = 3, shot: int = 4, query: int = 6, count: int = 3, dtype: torch.dtype = torch.float32
    ) -> tuple[Episode, Tensor]:
        """Separable episodes with text where the learner needs it, and their answer key."""
        g = torch.Generator().manual_seed(self.seed + 1)
        shape = self.item_shape
        size = int(torch.tensor(shape).prod())
        centres = torch.randn(count, way, size, generator=g, dtype=torch.float64)
        if way <= size:  # orthogonal classes, so that separable means separable
            centres = torch.linalg.qr(centres.mT).Q.mT * 6.0  # [E, N, size]
        labels = torch.arange(way).repeat_interleave(shot).expand(count, -1)
        targets = (torch.arange(query) % way).expand(count, -1)
        labels, targets = (torch.stack([row[torch.randperm(len(row), generator=g)] for row in rows])
                           for rows in (labels, targets))  # fmt: skip
        noise = 0.3

        def rows(which: Tensor) -> Tensor:
            picked = centres.gather(1, which[..., None].expand(-1, -1, size))
            values = picked + noise * torch.randn(*which.shape, size, generator=g, dtype=torch.float64)
            return values.reshape(*which.shape, *shape).to(dtype)

        text = None
        if "text" in self.learner.needs:
            text = torch.nn.functional.normalize(centres + 0.1 * torch.randn(centres.shape, generator=g), dim=-1).to(
                dtype
            )
        ids = torch.arange(100, 100 + count)
        return Episode(rows(labels), labels, rows(targets), way, text, ids), targets

    def logits(self, episode: Episode | None = None) -> Tensor:
        """What the learner answers."""
        return self.learner(self.episode if episode is None else episode)

    def same(self, found: Tensor, expected: Tensor, what: str) -> None:
        """Logits agree within the learner's tolerance; ``-inf`` must agree exactly."""
        assert found.shape == expected.shape, f"{what}: shape {list(found.shape)}, expected {list(expected.shape)}"
        finite = expected.isfinite()
        assert torch.equal(found.isfinite(), finite), f"{what}: other classes are absent, or a logit is not finite"
        gap = (found[finite] - expected[finite]).abs().max().item() if finite.any() else 0.0
        scale = max(1.0, expected[finite].abs().max().item() if finite.any() else 1.0)
        limit = getattr(self.learner, "tolerance", 1e-4) * scale
        assert gap <= limit, f"{what}: logits differ by {gap:.3g}, allowed {limit:.3g}"
