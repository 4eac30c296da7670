"""CLIP-LoRA: low-rank additions to the attention of both towers, with the class text as the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot.prompts.templates import check_template
from fewshot.transfer.class_text import ClassTextObjective, check_worded, class_words
from fewshot.transfer.lora import add_lora, ends_present, merge_lora
from fewshot.transfer.lora_strategy import LoRA
from fewshot.transfer.objective import Objective

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.transfer.settings import Settings

_ATTENTION = ("attn", "qkv", "q_proj", "k_proj", "v_proj")  # as the towers of open_clip call its layers


class ClipLoRA(LoRA):
    """Low-rank additions to query, key and value in both towers, merged in the end.

    Logits are ``scale cos(f(x), text(template with name_c))``; both towers of the result are tuned, and its head
    holds the class vectors.

    Args:
        rank: r.
        alpha: scale of the additions; 2 r where it is not given.
        targets: ends of the names of the layers to adapt, in whichever tower has them; by default the attention.
        template: of the class text.
        epochs: passes over the rows; None: what `fine_tune` is given, or chooses.
        lr: rate of both towers; None: what `fine_tune` is given, or 1e-3.
        head_lr: rate of the text tower, where it differs.

    Reference: Zanella, Ben Ayed, "Low-rank few-shot adaptation of vision-language models", CVPR workshops 2024,
    arXiv:2405.18541.
    """

    name = "clip-lora"

    def __init__(
        self, rank: int = 2, alpha: float | None = None, targets: Sequence[str] | None = None,
        template: str = "a photo of a {label}.", epochs: int | None = None, lr: float | None = None,
        head_lr: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(rank, alpha, targets, epochs, lr, head_lr or lr)
        self.template = check_template(template)

    def prepare(self, network: nn.Module, seed: int) -> None:
        """Add them to the image tower."""
        self._add(network, seed)

    def check(self, how: Settings) -> None:
        """Refuse settings of another kind of head."""
        check_worded(self.name, how)

    def on_top(self, width: int, classes: int, encoder: Encoder) -> tuple[str, int, int]:
        """The additions to the text tower."""
        import copy

        class_words(self.name, encoder, ["named"])
        towers = [encoder.tower(kind) for kind in ("texts", "images")]
        for end in self.targets or ():
            if not any(ends_present(tower, [end]) for tower in towers if tower is not None):
                raise ValueError(f"{self!r}: neither tower of {encoder.name!r} has a layer that ends in {end!r}.")
        tower = copy.deepcopy(towers[0])
        assert tower is not None
        held = sum(value.numel() for value in tower.parameters())
        self._add(tower, 0)
        return "text tower", held, sum(value.numel() for value in _factors(tower))

    def objective(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Encoder, names: Sequence[str]
    ) -> Objective:
        """The classification by class text."""
        texts = [self.template.replace("{label}", word) for word in class_words(self.name, encoder, names)]
        tower = encoder.tower("texts")
        assert tower is not None
        if _factors(tower):
            raise ValueError(f"{self.name!r} is of images and class text; these rows are texts. 'lora' tunes on texts.")
        self._add(tower, how.seed)
        return TowersObjective(how, rows, labels, device, encoder, tower, texts)

    def _add(self, tower: nn.Module, seed: int) -> None:
        ends = self.targets or _ATTENTION
        add_lora(tower, self.rank, self.alpha, ends_present(tower, ends) or ends, seed)


class TowersObjective(ClassTextObjective):
    """Class text by a text tower whose additions train.

    Args:
        how: the settings.
        rows: as for `Objective`, like what follows.
        labels: ``[M]``.
        device: of network and head.
        encoder: whose text tower it is.
        tower: with the additions.
        texts: of the classes ``[C]``.
    """

    def __init__(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Encoder, tower: nn.Module,
        texts: list[str],
    ) -> None:  # fmt: skip
        super().__init__(how, rows, labels, device, float(encoder.logit_scale or 1.0))
        self._held = (encoder, tower)  # in a tuple: of these, the additions alone are trained and kept
        self._texts = texts
        self.factors = nn.ParameterList(_factors(tower))

    def words(self) -> Tensor:
        """Unit vectors of the classes ``[C, D]``."""
        return F.normalize(self._held[0].forward_texts(self._texts).float(), dim=-1)

    def finish(self) -> None:
        """Merge the additions."""
        merge_lora(self._held[1])


def _factors(tower: nn.Module) -> list[nn.Parameter]:
    return [value for name, value in tower.named_parameters()
            if ".parametrizations." in name and name.endswith((".A", ".B"))]  # fmt: skip
