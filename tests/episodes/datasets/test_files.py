"""Files that a dataset needs: what belongs where, and when they are downloaded."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from episodes import load_dataset
from episodes.datasets import files as dataset_files


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ("omniglot:test", "'omniglot-py/images_background' and 'omniglot-py/images_evaluation'"),
        ("cifar-fs", "'cifar-100-python/train' and 'cifar-100-python/test' and 'cifar-100-python/meta'"),
        ("fc100:val", "'cifar-100-python/train'"),
        ("fashion-mnist", "'FashionMNIST/raw/train-images-idx3-ubyte'"),
    ],
)
def test_missing_files_say_what_belongs_where(
    spec: str, needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=rf"needs {needed}.*download=True .*root="):
        load_dataset(spec, root=tmp_path)
    monkeypatch.setenv("EPISODES_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_dataset(spec)

    def offline(*_: object, **options: float) -> None:
        assert options["timeout"] <= 10
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(FileNotFoundError, match=rf"could not be downloaded .*no route to host.*place {needed}"):
        load_dataset(spec, root=tmp_path, download=True)


def test_files_that_are_there_are_not_downloaded(cifar_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network was used"))
    load_dataset("fc100:test", root=cifar_root, download=True)


@pytest.mark.parametrize(
    ("fetch", "reason"),
    [
        (
            lambda: (_ for _ in ()).throw(RuntimeError("File not found or corrupted.")),
            "File not found or corrupted",
        ),
        (lambda: None, "the archive lacks files"),
    ],
)
def test_a_download_that_fails_says_so(
    fetch: Callable[[], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_files, "_unreachable", lambda _: None)
    with pytest.raises(FileNotFoundError, match=reason):
        dataset_files.require("x", tmp_path, ["a"], fetch, "https://example.org/a.zip")


def test_a_download_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_files, "_unreachable", lambda _: None)
    dataset_files.require("x", tmp_path, ["a"], lambda: (tmp_path / "a").touch(), "https://example.org/a.zip")
    assert (tmp_path / "a").exists()
