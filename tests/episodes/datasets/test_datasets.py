"""`load_dataset`: specs, options, and datasets of other packages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from episodes import TensorSource, list_datasets, load_dataset
from episodes.datasets import parse_dataset


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("digits", ("digits", "", {})),
        (" omniglot : test ", ("omniglot", "test", {})),
        ("omniglot(rotations=False)", ("omniglot", "", {"rotations": False})),
        ("csv:a.csv(path_column='x', size=8)", ("csv", "a.csv", {"path_column": "x", "size": 8})),
        ("folder:C:/photos (1)", ("folder", "C:/photos (1)", {})),
        ("folder:photos ()", ("folder", "photos ()", {})),
        ("folder:photos (old)", ("folder", "photos (old)", {})),
        ("folder:a (b)(size=8)", ("folder", "a (b)", {"size": 8})),
        ("omniglot:test(size=open)", ("omniglot", "test(size=open)", {})),
    ],
)
def test_parse(spec: str, expected: object) -> None:
    assert parse_dataset(spec) == expected


def test_list() -> None:
    known = {
        "arrays",
        "cifar-fs",
        "csv",
        "digits",
        "fashion-mnist",
        "fc100",
        "folder",
        "omniglot",
        "text-csv",
    }
    assert known <= set(list_datasets())
    assert list_datasets() == sorted(list_datasets())


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("omniglott", {}, r"unknown dataset 'omniglott'; did you mean 'omniglot'\? Known: arrays,"),
        (
            "omniglot:tset",
            {},
            r"unknown part of 'omniglot' 'tset'; did you mean 'test'\? Known: train, val, test",
        ),
        ("cifar-fs:train+novel", {}, r"unknown part of 'cifar-fs' 'novel'"),
        ("digits:train", {}, "digits have no part 'train'; write 'digits' or 'digits:images'"),
        ("digits", {"size": 8}, "dataset 'digits' has no option 'size'; Its options: none"),
        (
            "omniglot",
            {"rotation": True},
            r"no option 'rotation'; did you mean 'rotations'\? Its options: root, ",
        ),
        ("folder:x(sise=3)", {}, r"no option 'sise'; did you mean 'size'\?"),
        ("folder", {}, "dataset 'folder' needs a path; write 'folder:PATH'"),
        ("folder:", {"size": 8}, "needs a path"),
        ("", {}, "unknown dataset ''"),
    ],
)
def test_bad_specs(spec: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(spec, **options)


def test_a_source_is_returned_as_it_is() -> None:
    source = TensorSource(torch.eye(2), [0, 1])
    assert load_dataset(source) is source


def test_installed_datasets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(part: str = "", **options: object) -> tuple[str, object]:
        return part, options

    point = SimpleNamespace(name="mine", load=lambda: load)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group, name="mine": [point] if name == "mine" else [])
    assert "mine" in list_datasets()
    assert load_dataset("mine:a(b=1)", c=2) == ("a", {"b": 1, "c": 2})
