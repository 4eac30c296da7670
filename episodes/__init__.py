"""Reproducible few-shot evaluation: episodes in, per-episode scores with honest intervals out.

Useful alone: `evaluate` takes any callable from an `Episode` to logits.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # `typing` takes long to import, and a command cannot answer Ctrl-C until then
if TYPE_CHECKING:
    from typing import Any

_MODULES = {
    "Episode": "episodes.episode",
    "Support": "episodes.episode",
    "EpisodeSampler": "episodes.samplers.fixed",
    "Draw": "episodes.draw",
    "Sampler": "episodes.samplers.sampler",
    "Source": "episodes.source",
    "TensorSource": "episodes.source",
    "ImageSource": "episodes.image_source",
    "TextSource": "episodes.text_source",
    "AudioSource": "episodes.audio_source",
    "LogMel": "episodes.log_mel",
    "load_dataset": "episodes.datasets",
    "list_datasets": "episodes.datasets",
    "load_split": "episodes.splits",
    "list_splits": "episodes.splits",
    "check_disjoint": "episodes.splits",
    "check_leakage": "episodes.splits",
    "select_classes": "episodes.splits",
    "DisjointSampler": "episodes.samplers.disjoint",
    "DirichletSampler": "episodes.samplers.imbalanced",
    "VariableSampler": "episodes.samplers.variable",
    "HierarchicalSampler": "episodes.samplers.hierarchical",
    "OpenSetSampler": "episodes.samplers.open_set",
    "SemiSupervisedSampler": "episodes.samplers.semi_supervised",
    "ExhaustiveSampler": "episodes.samplers.exhaustive",
    "CrossDomainSampler": "episodes.samplers.cross_domain",
    "ManifestSampler": "episodes.samplers.manifest",
    "save_episodes": "episodes.samplers.manifest",
    "evaluate": "episodes.evaluation",
    "compare": "episodes.comparison",
    "compare_all": "episodes.comparison",
    "Metric": "episodes.metrics",
    "Result": "episodes.result",
    "Results": "episodes.results",
    "SETTINGS": "episodes.setting",
    "Setting": "episodes.setting",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from episodes.audio_source import AudioSource as AudioSource
    from episodes.comparison import compare as compare
    from episodes.comparison import compare_all as compare_all
    from episodes.datasets import list_datasets as list_datasets
    from episodes.datasets import load_dataset as load_dataset
    from episodes.draw import Draw as Draw
    from episodes.episode import Episode as Episode
    from episodes.episode import Support as Support
    from episodes.evaluation import evaluate as evaluate
    from episodes.image_source import ImageSource as ImageSource
    from episodes.log_mel import LogMel as LogMel
    from episodes.metrics import Metric as Metric
    from episodes.result import Result as Result
    from episodes.results import Results as Results
    from episodes.samplers.cross_domain import CrossDomainSampler as CrossDomainSampler
    from episodes.samplers.disjoint import DisjointSampler as DisjointSampler
    from episodes.samplers.exhaustive import ExhaustiveSampler as ExhaustiveSampler
    from episodes.samplers.fixed import EpisodeSampler as EpisodeSampler
    from episodes.samplers.hierarchical import HierarchicalSampler as HierarchicalSampler
    from episodes.samplers.imbalanced import DirichletSampler as DirichletSampler
    from episodes.samplers.manifest import ManifestSampler as ManifestSampler
    from episodes.samplers.manifest import save_episodes as save_episodes
    from episodes.samplers.open_set import OpenSetSampler as OpenSetSampler
    from episodes.samplers.sampler import Sampler as Sampler
    from episodes.samplers.semi_supervised import SemiSupervisedSampler as SemiSupervisedSampler
    from episodes.samplers.variable import VariableSampler as VariableSampler
    from episodes.setting import SETTINGS as SETTINGS
    from episodes.setting import Setting as Setting
    from episodes.source import Source as Source
    from episodes.source import TensorSource as TensorSource
    from episodes.splits import check_disjoint as check_disjoint
    from episodes.splits import check_leakage as check_leakage
    from episodes.splits import list_splits as list_splits
    from episodes.splits import load_split as load_split
    from episodes.splits import select_classes as select_classes
    from episodes.text_source import TextSource as TextSource


if not TYPE_CHECKING:  # so that a name which does not exist is found by type checkers

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that ``import episodes`` stays fast."""
        if name in _MODULES:
            globals()[name] = value = getattr(import_module(_MODULES[name]), name)
            return value
        raise AttributeError(f"module 'episodes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
