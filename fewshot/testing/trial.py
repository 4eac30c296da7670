"""The episodes that contract checks use, and how their logits are compared."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner


class Skip(Exception):
    """The check does not apply here."""


class TooFewRight(AssertionError):
    """Queries that the learner should have classified, which random weights may not."""


class Trial:
    """A learner with the episodes it is checked on.

    The default sizes differ from one another (E = 3, N = 4, Q = 8, S = 20), so that no axis can be taken
    for another one.

    Attributes:
        learner: a copy of the learner, in evaluation mode.
        item_shape: shape of one row; what is given, else the learner's own ``item_shape`` (an attribute that
            learners of fixed input size have), else ``[16]`` for features and ``[1, 28, 28]`` for images.
        way: the learner's own ``way`` (an attribute that learners of fixed way have), else 4.
        episode: separable episodes, support and queries in random order.
        targets: the query labels ``[E, Q]``.
    """

    def __init__(self, learner: Learner, item_shape: Sequence[int] | None = None, seed: int = 0) -> None:
        self.learner, self.seed = learner, seed
        default = (16,) if getattr(learner, "inputs", "features") == "features" else (1, 28, 28)
        self.item_shape = tuple(item_shape or getattr(learner, "item_shape", None) or default)
        self.way = int(getattr(learner, "way", 4))
        self.episode, self.targets = self.make()

    def make(
        self,
        shot: int = 5,
        query: int = 8,
        count: int = 3,
        dtype: torch.dtype = torch.float32,
        *,
        variant: int = 0,
        unlabelled: int = 0,
    ) -> tuple[Episode, Tensor]:
        """Separable episodes and their query labels; the same call makes the same episodes.

        Args:
            shot: support rows per class.
            query: query rows per episode.
            count: episodes.
            dtype: of the rows.
            variant: other numbers give other classes and rows.
            unlabelled: rows of unknown class per episode; learners that need them get them always.
        """
        generator = torch.Generator().manual_seed(1000 * self.seed + variant + 1)
        size, way = math.prod(self.item_shape), self.way
        centres = _normal(count, way, size, generator=generator)
        if way <= size:  # orthogonal classes, so that separable means separable
            centres = torch.linalg.qr(centres.mT).Q.mT * 6.0  # [E, N, size]
        text = centres + 0.1 * _normal(count, way, size, generator=generator)
        needs = self.learner.needs
        if "unlabelled" in needs:
            unlabelled = unlabelled or 6

        def shuffled(numbers: Tensor) -> Tensor:
            order = torch.rand(count, len(numbers), generator=generator).argsort(1)
            return numbers[order]  # [E, rows]

        def rows(classes: Tensor) -> Tensor:
            noise = 0.3 * _normal(*classes.shape, size, generator=generator)
            values = centres.gather(1, classes[..., None].expand(-1, -1, size)) + noise
            return values.reshape(*classes.shape, *self.item_shape).to(dtype)  # [E, rows, *x]

        labels = shuffled(torch.arange(way).repeat_interleave(shot))
        targets = shuffled(torch.arange(query) % way)
        episode = Episode(
            support=rows(labels),
            labels=labels,
            query=rows(targets),
            way=way,
            text=torch.nn.functional.normalize(text, dim=-1).to(dtype) if "text" in needs else None,
            ids=torch.arange(100, 100 + count),
            unlabelled=rows(shuffled(torch.arange(unlabelled) % way)) if unlabelled else None,
        )
        return episode, targets

    def logits(self, episode: Episode | None = None) -> Tensor:
        """Logits of the learner."""
        return self.learner(self.episode if episode is None else episode)

    def twin(self) -> Learner:
        """Another learner of the same hyper-parameters; where weights are drawn at random, others."""
        arguments = copy.deepcopy(self.learner.hyperparameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 12_345)
            return type(self.learner)(**arguments).eval()

    def same(self, found: Tensor, expected: Tensor, what: str) -> None:
        """Logits agree within the learner's tolerance; ``-inf`` must agree exactly, NaN never does."""
        assert found.shape == expected.shape, f"{what}: shape {list(found.shape)}, expected {list(expected.shape)}"
        assert not found.isnan().any() and not expected.isnan().any(), f"{what}: some logits are NaN"
        finite = expected.isfinite() & found.isfinite()
        assert torch.equal(found[~finite], expected[~finite]), f"{what}: other classes are absent"
        if not finite.any():
            return
        gap = (found[finite] - expected[finite]).abs().max().item()
        limit = self.learner.tolerance * max(expected[finite].abs().max().item(), 1e-6)
        assert gap <= limit, f"{what}: logits differ by {gap:.3g}, allowed {limit:.3g}"

    def demand_accuracy(self, logits: Tensor, targets: Tensor, least: float, what: str) -> None:
        """No logit is NaN or infinite, and enough queries are right."""
        assert logits.isfinite().all(), f"{what}: logits are not finite"
        accuracy = (logits.argmax(-1) == targets).float().mean().item()
        if not accuracy > least:
            raise TooFewRight(f"{what}: accuracy {accuracy:.0%}, expected more than {least:.0%}")


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
