"""CoOp: words in front of the class names that are learned as vectors, both towers frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.inputs import check_whole
from fewshot.transfer.class_text import ClassTextObjective, check_worded, class_words
from fewshot.transfer.objective import Objective
from fewshot.transfer.stages import Stage
from fewshot.transfer.strategy import Strategy

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.transfer.settings import Settings

_SPREAD = 0.02  # of the vectors that training begins with, as in the paper


class Prompt(Strategy):
    """Context vectors v that all classes share: ``t_c = text(v_1 ... v_M, name_c.)``, logits ``scale cos(f(x), t_c)``.

    Both towers are frozen, so images are needed once, as features from the cache, unless they are augmented. The
    encoder stays what it was; the result's head holds the class vectors.

    Args:
        length: M; with `init`, that many tokens as it has.
        init: words that the vectors begin as (``"a photo of a"``); None: normal random numbers of deviation 0.02.
        epochs: passes over the rows; None: what `fine_tune` is given, or chooses.
        lr: unused, as the network is frozen.
        head_lr: rate of the vectors; None: what `fine_tune` is given, or 2e-3.

    Reference: Zhou, Yang, Loy, Liu, "Learning to prompt for vision-language models", IJCV 2022, arXiv:2109.01134.
    """

    name, frozen = "prompt", True
    rates = (2e-3, 2e-3)

    def __init__(
        self, length: int = 16, init: str | None = None, epochs: int | None = None, lr: float | None = None,
        head_lr: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(epochs, lr, head_lr)
        self.length, self.init = check_whole("prompt: length", length), init

    def check(self, how: Settings) -> None:
        """Refuse settings of another kind of head."""
        check_worded(self.name, how)

    def on_top(self, width: int, classes: int, encoder: Encoder) -> tuple[str, int, int]:
        """The vectors."""
        class_words(self.name, encoder, ["named"])
        count = self._start(encoder, 0).numel()
        return "context", count, count

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """Nothing of the network."""
        return set()

    def objective(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Encoder, names: Sequence[str]
    ) -> Objective:
        """The classification by class text."""
        words = class_words(self.name, encoder, names)
        return PromptObjective(how, rows, labels, device, encoder, words, self._start(encoder, how.seed))

    def _start(self, encoder: Any, seed: int) -> Tensor:
        vectors: Tensor = encoder.word_vectors(self.init or "a")  # [M, W]
        if self.init is not None:
            return vectors.clone()
        random = torch.Generator().manual_seed(seed)
        return _SPREAD * torch.randn(self.length, vectors.shape[1], generator=random)


class PromptObjective(ClassTextObjective):
    """Class text behind vectors that train.

    Args:
        how: the settings.
        rows: as for `Objective`, like what follows.
        labels: ``[M]``.
        device: of network and head.
        encoder: with a causal text tower of open_clip, which is not changed.
        words: what the classes are called ``[C]``.
        start: of the vectors ``[M, W]``.
    """

    def __init__(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Any, words: list[str],
        start: Tensor,
    ) -> None:  # fmt: skip
        super().__init__(how, rows, labels, device, encoder.logit_scale)
        self._text = encoder.encode_after  # a method, so that the tower is no part of what is trained and kept
        self._texts = [f"{word}." for word in words]
        self.context = nn.Parameter(start.to(device))

    def words(self) -> Tensor:
        """Unit vectors of the classes ``[C, D]``."""
        return F.normalize(self._text(self.context, self._texts).float(), dim=-1)
