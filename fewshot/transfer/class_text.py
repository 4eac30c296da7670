"""Training against class text: an objective whose classes are vectors that a text tower makes of their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.transfer.objective import Objective

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.transfer.settings import Settings
    from fewshot.transfer.tuning import Tuning


class ClassTextObjective(Objective):
    """Cross-entropy of ``scale cos(f(x), t_c)`` with unit vectors t of the classes, which a subclass makes by `words`.

    Args:
        how: the settings.
        rows: as for `Objective`, like what follows.
        labels: ``[M]``.
        device: of network and head.
        scale: of the encoder.
    """

    def __init__(self, how: Settings, rows: Any, labels: Tensor, device: torch.device, scale: float) -> None:
        super().__init__(how, rows, labels, device)
        self.scale = scale

    def words(self) -> Tensor:
        """Unit vectors of the classes, with gradients ``[C, D]``."""
        raise NotImplementedError

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of a batch."""
        batch, target = self.taken(chosen, step), self._answers[chosen.to(self.device)]
        units = F.normalize(tuning.features(batch).float(), dim=-1)  # [B, D]
        logits = self.scale * units @ self.words().T  # [B, C]
        loss = F.cross_entropy(logits, target, label_smoothing=self.how.label_smoothing)
        return loss, (logits.argmax(-1) == target).float().mean()

    @torch.no_grad()
    def settle(self, tuning: Tuning) -> None:
        """The head is the class text as it is now."""
        tuning.eval()
        words = self.words()
        tuning.head.load_state_dict({"weight": self.scale * words, "bias": words.new_zeros(len(words))})
        tuning.head.unit = True


def check_worded(strategy: str, how: Settings) -> None:
    """Refuse settings that are of a head which begins elsewhere.

    Raises:
        ValueError: there is such a setting.
    """
    given = {"wise": how.wise is not None, "l2_sp": how.l2_sp is not None, "mixup": bool(how.mixup)}
    for name, there in given.items():
        if there:
            raise ValueError(f"{strategy!r} has class text for a head, for which there is no {name}; leave it out.")


def class_words(strategy: str, encoder: Encoder, names: Sequence[str]) -> list[str]:
    """Class names as they stand in sentences.

    Raises:
        ValueError: the encoder has no text tower whose word vectors could be given, or classes have no names.
    """
    if not callable(getattr(encoder, "encode_after", None)) or encoder.logit_scale is None:
        raise ValueError(
            f"{strategy!r} trains by class text, for which {encoder.name!r} has no tower of open_clip; take "
            "'open_clip:MODEL/TAG' or 'fewshot:tiny-clip'."
        )
    if all(name.lstrip("-").isdigit() for name in names):
        raise ValueError(
            f"{strategy!r} puts class names into sentences, but the classes are called {list(names)[:3]}; name them by "
            "class_names=, as in TensorSource(features, labels, class_names=['owl', 'crow'])."
        )
    return [name.replace("_", " ").strip() for name in names]
