"""Suites are checked field by field before anything runs; those that are shipped are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes.datasets import DATASETS, parse_dataset
from episodes.metrics import METRICS
from episodes.samplers import SAMPLERS
from fewshot import load_learner
from fewshot.encoders import ENCODERS
from fewshot.registry import parse_spec
from fewshot.suites import list_suites, load_suite

SMALL = 'learners = ["prototypes"]\n[[datasets]]\ndata = "digits"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", list_suites())
def test_shipped_suites_are_sound(name: str) -> None:
    suite = load_suite(name)
    assert suite.title
    for dataset in suite.datasets:
        for spec in filter(None, (dataset.data, dataset.base)):
            assert parse_dataset(spec)[0] in DATASETS.names()
        for learner in dataset.learners:
            load_learner(learner)
        for encoder in filter(None, dataset.encoders):
            assert encoder.partition(":")[0] in ENCODERS.names()
        assert parse_spec(dataset.sampler)[0] in SAMPLERS.names()
        assert dataset.metric in METRICS
    for figure in suite.published:
        assert 0 < figure.score <= 100
        assert figure.source


def test_what_stands_above_is_for_all(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, """
        title = "Mine"
        learners = "prototypes"
        ways = "all"
        seeds = [0, 1]
        [[datasets]]
        data = "digits"
        [[datasets]]
        data = "digits"
        name = "again"
        learners = ["nearest", "lda"]
        shots = 3
        weights = { nearest = "w.safetensors" }
        [[published]]
        dataset = "again"
        method = "theirs"
        way = 10
        shot = 3
        score = 80
    """))  # fmt: skip
    first, second = suite.datasets
    assert (suite.name, suite.title) == ("mine", "Mine")
    assert (first.name, first.learners, first.ways, first.shots, first.seeds) == (
        "digits", ("prototypes",), ("all",), (1, 5), (0, 1),
    )  # fmt: skip
    assert (second.learners, second.shots, second.ways) == (("nearest", "lda"), (3,), ("all",))
    assert second.weights == (("nearest", "w.safetensors"),)
    assert suite.published[0].half is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learners = [", "is no TOML"),
        ('learners = ["prototypes"]', "there are no datasets"),
        ("datasets = [3]", "must be a table"),
        ('[[datasets]]\ndata = "digits"', "dataset 1 has no learners"),
        ('learners = ["lda"]\n[[datasets]]\nname = "x"', "dataset 1 has no data"),
        (SMALL + "shot = [1]", "unknown field of dataset 1 'shot'.*did you mean 'shots'"),
        ("shots = [true]\n" + SMALL, "True is no whole number"),
        ("ways = [1]\n" + SMALL, "a way is at least 2"),
        ("query = 0\n" + SMALL, "at least 1"),
        ("learners = [1]\n[[datasets]]\ndata = 'digits'", "1 is no text"),
        (SMALL + "[[datasets]]\ndata = 'digits'", "two datasets are called 'digits'"),
        (SMALL + "weights = { lda = 'x' }", "'lda' is none of its learners"),
        (SMALL + "[[published]]\ndataset = 'digits'", "published figure 1 has no method"),
        (SMALL + "[[published]]\ndataset = 'x'\nmethod = 'm'\nway = 5\nshot = 1\nscore = 1.0", "unknown dataset of"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"(?s)mine.toml.*{message}"):
        load_suite(written(tmp_path, text))


def test_a_folder_of_results_is_no_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fewshot benchmark digits --out digits/` is run again in the folder that it made."""
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert load_suite("digits").datasets[0].name == "digits"
    with pytest.raises(FileNotFoundError, match="there is no suite"):
        load_suite(tmp_path)


def test_no_such_suite() -> None:
    with pytest.raises(ValueError, match=r"unknown suite 'omniglott'.*did you mean 'omniglot'"):
        load_suite("omniglott")
    with pytest.raises(FileNotFoundError, match=r"no suite 'gone.toml'; shipped are .*digits"):
        load_suite("gone.toml")
