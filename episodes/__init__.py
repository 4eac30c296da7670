"""Episodes sets and marks few-shot exams: episodes in, per-episode scores with honest intervals out.

Useful alone: `evaluate` takes any callable from an `Episode` to logits.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Episode": "episodes.episode",
    "EpisodeSampler": "episodes.sampler",
    "Draw": "episodes.sampler",
    "Source": "episodes.source",
    "TensorSource": "episodes.source",
    "ImageSource": "episodes.image_source",
    "TextSource": "episodes.text_source",
    "load_dataset": "episodes.datasets",
    "list_datasets": "episodes.datasets",
    "load_split": "episodes.splits",
    "list_splits": "episodes.splits",
    "check_disjoint": "episodes.splits",
    "check_leakage": "episodes.splits",
    "select_classes": "episodes.splits",
    "DisjointSampler": "episodes.disjoint",
    "DirichletSampler": "episodes.imbalanced",
    "VariableSampler": "episodes.variable",
    "HierarchicalSampler": "episodes.hierarchical",
    "OpenSetSampler": "episodes.open_set",
    "SemiSupervisedSampler": "episodes.semi_supervised",
    "ExhaustiveSampler": "episodes.exhaustive",
    "CrossDomainSampler": "episodes.cross_domain",
    "ManifestSampler": "episodes.manifest",
    "save_episodes": "episodes.manifest",
    "evaluate": "episodes.evaluation",
    "compare": "episodes.comparison",
    "compare_all": "episodes.comparison",
    "Result": "episodes.results",
    "Results": "episodes.results",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from episodes.comparison import compare as compare
    from episodes.comparison import compare_all as compare_all
    from episodes.cross_domain import CrossDomainSampler as CrossDomainSampler
    from episodes.datasets import list_datasets as list_datasets
    from episodes.datasets import load_dataset as load_dataset
    from episodes.disjoint import DisjointSampler as DisjointSampler
    from episodes.episode import Episode as Episode
    from episodes.evaluation import evaluate as evaluate
    from episodes.exhaustive import ExhaustiveSampler as ExhaustiveSampler
    from episodes.hierarchical import HierarchicalSampler as HierarchicalSampler
    from episodes.image_source import ImageSource as ImageSource
    from episodes.imbalanced import DirichletSampler as DirichletSampler
    from episodes.manifest import ManifestSampler as ManifestSampler
    from episodes.manifest import save_episodes as save_episodes
    from episodes.open_set import OpenSetSampler as OpenSetSampler
    from episodes.results import Result as Result
    from episodes.results import Results as Results
    from episodes.sampler import Draw as Draw
    from episodes.sampler import EpisodeSampler as EpisodeSampler
    from episodes.semi_supervised import SemiSupervisedSampler as SemiSupervisedSampler
    from episodes.source import Source as Source
    from episodes.source import TensorSource as TensorSource
    from episodes.splits import check_disjoint as check_disjoint
    from episodes.splits import check_leakage as check_leakage
    from episodes.splits import list_splits as list_splits
    from episodes.splits import load_split as load_split
    from episodes.splits import select_classes as select_classes
    from episodes.text_source import TextSource as TextSource
    from episodes.variable import VariableSampler as VariableSampler


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import episodes`` stays fast."""
    if name in _HOME:
        globals()[name] = value = getattr(import_module(_HOME[name]), name)
        return value
    raise AttributeError(f"module 'episodes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
