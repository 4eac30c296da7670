"""The command tells glibc to keep freed memory; elsewhere, and where the user has said how, it does nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest

from fewshot import cli
from fewshot.cli import allocator


class Library:
    """Stands for the C library, so that this process's allocator stays as it is."""

    def __init__(self, answer: int = 1) -> None:
        self.told: list[tuple[int, int]] = []
        self.answer = answer

    def mallopt(self, name: int, value: int) -> int:
        self.told.append((name, value))
        return self.answer


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    return found


def test_verbs_that_compute_keep_memory_and_others_do_not(library: Library) -> None:
    for verb in (None, "list", "compare", "unknown"):
        assert not allocator.keep_freed_memory(verb)
    assert library.told == []
    assert allocator.keep_freed_memory("train")
    assert library.told == [(-3, 2**30), (-1, 2**30)]
    library.answer = 0
    assert not allocator.keep_freed_memory("finetune")


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1"), ("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")],
)
def test_what_the_user_has_set_stays(library: Library, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not allocator.keep_freed_memory("train") and library.told == []


def refused(name: str) -> str:
    raise ValueError("unrecognized configuration name")


@pytest.mark.parametrize("answer", [refused, lambda name: None, lambda name: "musl"])
def test_other_c_libraries_are_left_alone(library: Library, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(os, "confstr", answer)
    assert not allocator.keep_freed_memory("train")
    monkeypatch.delattr(os, "confstr")  # Windows
    assert not allocator.keep_freed_memory("train") and library.told == []


def test_main_tells_it_only_in_a_process_of_its_own(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for own in (False, True):
        monkeypatch.setattr(sys, "argv", ["fewshot", "train", "--help"])
        with pytest.raises(SystemExit):
            cli.main(None if own else ["train", "--help"])
        assert bool(library.told) == own
    assert "usage" in capsys.readouterr().out


@pytest.mark.skipif(not allocator._is_glibc(), reason="the C library is not glibc")
def test_glibc_takes_it() -> None:
    source = "from fewshot.cli.allocator import keep_freed_memory as keep; print(keep('train'))"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", source], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
