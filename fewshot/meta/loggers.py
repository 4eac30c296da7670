"""Callbacks that show a training run in TensorBoard, Weights & Biases or MLflow.

``meta_train(..., callbacks=[TensorBoardLogger("runs")])``, and likewise `pretrain` and `fine_tune`: each is called
with a report, which holds ``step`` (or ``epoch``), ``loss``, ``accuracy``, ``lr``, ``validation``, ...
A callback of your own is any function of such a mapping.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


class TensorBoardLogger:
    """Writes each number of a report as a curve; ``tensorboard --logdir FOLDER`` shows them.

    Args:
        folder: of this run.
        prefix: put before the names of curves.

    Raises:
        ImportError: tensorboard is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], prefix: str = "") -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError("curves for TensorBoard need its package: pip install tensorboard") from None
        self._writer, self._prefix = SummaryWriter(os.fspath(folder)), prefix

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Write and flush, so that an interrupted run is there to its last report."""
        step, numbers = _split(report)
        for name, value in numbers.items():
            self._writer.add_scalar(self._prefix + name, value, step)
        self._writer.flush()


class WandbLogger:
    """Sends each report to a run of Weights & Biases.

    Args:
        run: what ``wandb.init(...)`` returned; None: the run that has begun, or a new one.
        prefix: put before the names of curves.

    Raises:
        ImportError: wandb is missing.
    """

    def __init__(self, run: Any = None, prefix: str = "") -> None:
        if run is None:
            try:
                import wandb
            except ImportError:
                raise ImportError("logging to Weights & Biases needs its package: pip install wandb") from None
            run = wandb.run or wandb.init()
        self._run, self._prefix = run, prefix

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Log the numbers at their step."""
        step, numbers = _split(report)
        self._run.log({self._prefix + name: value for name, value in numbers.items()}, step=step)


class MLflowLogger:
    """Sends each report to MLflow's active run, which it begins where there is none.

    Args:
        prefix: put before the names of metrics.

    Raises:
        ImportError: mlflow is missing.
    """

    def __init__(self, prefix: str = "") -> None:
        try:
            import mlflow
        except ImportError:
            raise ImportError("logging to MLflow needs its package: pip install mlflow") from None
        self._mlflow, self._prefix = mlflow, prefix

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Log the numbers at their step."""
        step, numbers = _split(report)
        self._mlflow.log_metrics({self._prefix + name: value for name, value in numbers.items()}, step=step)


def _split(report: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """The step (or epoch) of a report, and its other numbers."""
    step = report.get("step", report.get("epoch", 0))
    plain = {name: value for name, value in report.items() if isinstance(value, (int, float)) and name != "step"}
    return int(step), {name: float(value) for name, value in plain.items()}
