"""Meta-training: one loop for every learner with weights."""

from __future__ import annotations

from fewshot.meta.plan import Training as Training
from fewshot.meta.pretraining import pretrain as pretrain
from fewshot.meta.training import meta_train as meta_train
from fewshot.meta.weights import load_weights as load_weights
from fewshot.meta.weights import save_weights as save_weights

__all__ = ["Training", "load_weights", "meta_train", "pretrain", "save_weights"]
