"""Few-shot and zero-shot learning: batched learners, one embedding cache, scikit-learn estimators."""

from __future__ import annotations

from importlib import import_module

import episodes as _episodes

TYPE_CHECKING = False  # as in `episodes`
if TYPE_CHECKING:
    from typing import Any

if "EpisodeSampler" not in getattr(_episodes, "__all__", ()):
    from fewshot.foreign import explain_package

    raise explain_package(_episodes)

__version__ = "0.1.0"

_MODULES = {
    "ConvergenceWarning": "fewshot.maths.convergence",
    "Learner": "fewshot.learner",
    "Pipeline": "fewshot.transforms",
    "Transform": "fewshot.transforms",
    "load_learner": "fewshot.learners",
    "list_learners": "fewshot.learners",
    "load_transform": "fewshot.transforms",
    "list_transforms": "fewshot.transforms",
    "load_encoder": "fewshot.encoders",
    "list_encoders": "fewshot.encoders",
    "Encoder": "fewshot.encoders",
    "ModuleEncoder": "fewshot.encoders",
    "embed": "fewshot.embedding",
    "evaluate_grid": "fewshot.grid",
    "EmbeddingCache": "fewshot.cache",
    "FewShotClassifier": "fewshot.classifier",
    "ZeroShotClassifier": "fewshot.classifier",
    "Prompts": "fewshot.prompts",
    "meta_train": "fewshot.meta",
    "pretrain": "fewshot.meta",
    "load_weights": "fewshot.meta",
    "save_weights": "fewshot.meta",
    "advise": "fewshot.transfer",
    "contact_sheet": "fewshot.transfer",
    "fine_tune": "fewshot.transfer",
    "inspect": "fewshot.transfer",
    "load_tuned": "fewshot.transfer",
    "train_tasks": "fewshot.multi_task",
    "load_tasks": "fewshot.multi_task",
    "cluster": "fewshot.unsupervised",
    "fit_pca": "fewshot.unsupervised",
    "pretrain_unlabelled": "fewshot.unsupervised",
}
# Public packages, imported like names when they are first used: `fewshot.zsl.conse`.
_PACKAGES = (
    "adaptation",
    "app",
    "augmentation",
    "cache",
    "classifier",
    "encoders",
    "export",
    "learners",
    "maths",
    "meta",
    "multi_task",
    "prompts",
    "suites",
    "testing",
    "transfer",
    "unsupervised",
    "zsl",
)
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from fewshot import adaptation as adaptation
    from fewshot import app as app
    from fewshot import augmentation as augmentation
    from fewshot import cache as cache
    from fewshot import classifier as classifier
    from fewshot import encoders as encoders
    from fewshot import export as export
    from fewshot import learners as learners
    from fewshot import maths as maths
    from fewshot import meta as meta
    from fewshot import multi_task as multi_task
    from fewshot import prompts as prompts
    from fewshot import suites as suites
    from fewshot import testing as testing
    from fewshot import transfer as transfer
    from fewshot import unsupervised as unsupervised
    from fewshot import zsl as zsl
    from fewshot.cache import EmbeddingCache as EmbeddingCache
    from fewshot.classifier import FewShotClassifier as FewShotClassifier
    from fewshot.classifier import ZeroShotClassifier as ZeroShotClassifier
    from fewshot.embedding import embed as embed
    from fewshot.encoders import Encoder as Encoder
    from fewshot.encoders import ModuleEncoder as ModuleEncoder
    from fewshot.encoders import list_encoders as list_encoders
    from fewshot.encoders import load_encoder as load_encoder
    from fewshot.grid import evaluate_grid as evaluate_grid
    from fewshot.learner import Learner as Learner
    from fewshot.learners import list_learners as list_learners
    from fewshot.learners import load_learner as load_learner
    from fewshot.maths.convergence import ConvergenceWarning as ConvergenceWarning
    from fewshot.meta import load_weights as load_weights
    from fewshot.meta import meta_train as meta_train
    from fewshot.meta import pretrain as pretrain
    from fewshot.meta import save_weights as save_weights
    from fewshot.multi_task import load_tasks as load_tasks
    from fewshot.multi_task import train_tasks as train_tasks
    from fewshot.prompts import Prompts as Prompts
    from fewshot.transfer import advise as advise
    from fewshot.transfer import contact_sheet as contact_sheet
    from fewshot.transfer import fine_tune as fine_tune
    from fewshot.transfer import inspect as inspect
    from fewshot.transfer import load_tuned as load_tuned
    from fewshot.transforms import Pipeline as Pipeline
    from fewshot.transforms import Transform as Transform
    from fewshot.transforms import list_transforms as list_transforms
    from fewshot.transforms import load_transform as load_transform
    from fewshot.unsupervised import cluster as cluster
    from fewshot.unsupervised import fit_pca as fit_pca
    from fewshot.unsupervised import pretrain_unlabelled as pretrain_unlabelled


if not TYPE_CHECKING:  # so that a name which does not exist is found by type checkers

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that ``import fewshot`` stays fast."""
        try:
            if name in _MODULES:
                globals()[name] = value = getattr(import_module(_MODULES[name]), name)
                return value
            if name in _PACKAGES:
                return import_module(f"fewshot.{name}")
        except ImportError as error:
            from fewshot.foreign import explain

            raise explain(error) from error
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_PACKAGES})
