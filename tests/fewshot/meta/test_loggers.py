"""Loggers: each number of a report arrives at its step; what is missing says what to install."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from episodes import EpisodeSampler, load_dataset
from fewshot import meta_train
from fewshot.meta import MLflowLogger, TensorBoardLogger, WandbLogger

REPORT = {"step": 20, "loss": 0.5, "accuracy": 0.75, "note": "warm", "validation": None}


def test_weights_and_biases_and_mlflow_get_numbers_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    run = SimpleNamespace(log=lambda numbers, step: got.append(("wandb", numbers, step)))
    stand_in: Any = ModuleType("wandb")
    stand_in.run, stand_in.init = None, lambda: run
    tracker: Any = ModuleType("mlflow")
    tracker.log_metrics = lambda numbers, step: got.append(("mlflow", numbers, step))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.setitem(sys.modules, "mlflow", tracker)
    for logger in (WandbLogger(), WandbLogger(run, "a/"), MLflowLogger("b/")):
        logger(REPORT)
    MLflowLogger()({"epoch": 3, "loss": 1})
    assert got == [
        ("wandb", {"loss": 0.5, "accuracy": 0.75}, 20), ("wandb", {"a/loss": 0.5, "a/accuracy": 0.75}, 20),
        ("mlflow", {"b/loss": 0.5, "b/accuracy": 0.75}, 20), ("mlflow", {"epoch": 3.0, "loss": 1.0}, 3),
    ]  # fmt: skip


def test_tensorboard_gets_what_training_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append(("flushed", 0.0, 0))

    board: Any = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    source = load_dataset("digits")
    trained = meta_train(
        "mlp(item_shape=(64,), widths=(8,)) | prototypes", source, EpisodeSampler(source.labels, way=3, shot=1, query=2),
        steps=4, every=2, callbacks=[TensorBoardLogger(tmp_path / "runs")], progress=False,
    )  # fmt: skip
    reports = {(name, step): value for name, value, step in written if name != "flushed"}
    assert {step for _, step in reports} == {2, 4} and sum(name == "flushed" for name, _, _ in written) == 2
    assert [reports["loss", step] for step in (2, 4)] == [report["loss"] for report in trained.history]


@pytest.mark.parametrize(
    ("logger", "module", "line"),
    [(WandbLogger, "wandb", "pip install wandb"), (MLflowLogger, "mlflow", "pip install mlflow"),
     (lambda: TensorBoardLogger("runs"), "torch.utils.tensorboard", "pip install tensorboard")],
)  # fmt: skip
def test_a_missing_package_says_how_to_install_it(
    logger: Any, module: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=line):
        logger()
