"""One sampler of each kind beside the fixed one, over classes of unequal sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from episodes import (
    CrossDomainSampler,
    DirichletSampler,
    ExhaustiveSampler,
    HierarchicalSampler,
    OpenSetSampler,
    SemiSupervisedSampler,
    VariableSampler,
)

LABELS = np.repeat(np.arange(12), 40)
UNEQUAL = np.repeat(np.arange(9), [12, 20, 33, 90, 14, 25, 61, 40, 17])
SMALL = np.repeat(np.arange(4), [3, 4, 3, 5])
MADE: dict[str, Callable[..., Any]] = {  # by default over rows ordered by class
    "dirichlet": lambda order=slice(None): DirichletSampler(UNEQUAL[order], 4, 2, 8, seed=3),
    "hierarchical": lambda order=slice(None): HierarchicalSampler(
        UNEQUAL[order], [[0, 1, 2, 3], [3, 4, 5, 6, 7]], 3, 2, 5, seed=3
    ),
    "variable": lambda order=slice(None): VariableSampler(
        UNEQUAL[order], query=6, seed=3, least_way=3, most_way=7, most_support=40
    ),
    "open-set": lambda order=slice(None): OpenSetSampler(UNEQUAL[order], 4, 2, 6, seed=3, open_way=3),
    "semi-supervised": lambda order=slice(None): SemiSupervisedSampler(
        UNEQUAL[order], 3, 2, 5, seed=3, unlabelled=4, distractors=2
    ),
    "exhaustive": lambda order=slice(None): ExhaustiveSampler(SMALL[order], 2, 2),
    "cross-domain": lambda order=slice(None): CrossDomainSampler(
        UNEQUAL[order], np.arange(len(UNEQUAL)) % 2, 3, 2, 4, seed=3
    ),
}
FIELDS = ("support", "labels", "query", "targets", "classes", "ids")


def labels_of(sampler: Any) -> np.ndarray:
    """The labels it was made for."""
    return SMALL if sampler.kind == "exhaustive" else UNEQUAL
