"""Which support rows are held out together inside a learner, by what they hold and not by their place."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Support


def folds_by_value(episode: Support, folds: int) -> Tensor:
    """A fold for each support row ``[E, S]``, classes spread evenly; what a row holds decides, not its place."""
    weights = torch.linspace(1, 2, episode.support.shape[-1], dtype=torch.float64, device=episode.support.device)
    value = (episode.support.double() * weights).sum(-1)  # [E, S]
    same = episode.labels.unsqueeze(1) == episode.labels.unsqueeze(2)
    before = (value.unsqueeze(1) < value.unsqueeze(2)) & same  # [E, S, S]
    return before.sum(-1) % folds
