"""Multi-task learning: one network for several tasks, with a head for each, and an encoder afterwards."""

from fewshot.multi_task.folder import load_tasks
from fewshot.multi_task.result import MultiTask
from fewshot.multi_task.sampling import SAMPLINGS, Sampling, load_sampling
from fewshot.multi_task.training import train_tasks
from fewshot.multi_task.weighting import Weighting
from fewshot.multi_task.weightings import WEIGHTINGS, load_weighting

__all__ = [
    "SAMPLINGS",
    "WEIGHTINGS",
    "MultiTask",
    "Sampling",
    "Weighting",
    "load_sampling",
    "load_tasks",
    "load_weighting",
    "train_tasks",
]
