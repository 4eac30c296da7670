"""Meta-training: one loop for every learner with weights."""

from __future__ import annotations

from fewshot.meta.loggers import MLflowLogger as MLflowLogger
from fewshot.meta.loggers import TensorBoardLogger as TensorBoardLogger
from fewshot.meta.loggers import WandbLogger as WandbLogger
from fewshot.meta.plan import Training as Training
from fewshot.meta.pretraining import pretrain as pretrain
from fewshot.meta.training import meta_train as meta_train
from fewshot.meta.weights import load_weights as load_weights
from fewshot.meta.weights import save_weights as save_weights

__all__ = [
    "MLflowLogger",
    "TensorBoardLogger",
    "Training",
    "WandbLogger",
    "load_weights",
    "meta_train",
    "pretrain",
    "save_weights",
]
