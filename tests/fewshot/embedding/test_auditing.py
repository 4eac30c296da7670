"""`audit`: cached rows against fresh ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot import EmbeddingCache, embed
from fewshot.cli import main
from fewshot.embedding.auditing import audit
from fewshot.encoders import ModuleEncoder


def encoder() -> ModuleEncoder:
    torch.manual_seed(0)
    return ModuleEncoder(nn.Sequential(nn.Flatten(), nn.Linear(48, 7)), None, dim=7)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_right_rows_pass(images: torch.Tensor, tmp_path: Path) -> None:
    embed(images, encoder(), cache=tmp_path)
    rows = EmbeddingCache(tmp_path).ls()[0].rows
    found = audit(images, encoder(), cache=tmp_path, sample=25)
    assert (found.cached, found.compared, found.wrong) == (40, 25, [])
    assert found.lowest_cosine > 0.99999
    assert EmbeddingCache(tmp_path).ls()[0].rows == rows


def test_wrong_rows_are_named(images: torch.Tensor, tmp_path: Path) -> None:
    model = encoder()
    source = embed(images, model, cache=tmp_path)
    space = EmbeddingCache(tmp_path).open(source.report["space"])
    keys = source.keys[:, 0]
    rows = space.read(keys).numpy()
    rows[[3, 17]] = rows[[17, 3]]
    for path in space.path.glob("*.safetensors"):
        path.unlink()
    with EmbeddingCache(tmp_path).open(space.id).writer() as writer:  # right by every checksum
        writer.add(keys, rows)
    found = audit(images, model, cache=tmp_path)
    assert {name.split()[1] for name, _ in found.wrong} == {"3", "17"}
    assert found.wrong[0][1] == found.lowest_cosine < 0.9999
    assert EmbeddingCache(tmp_path).verify() == {}


def test_only_cached_rows_are_compared(images: torch.Tensor, tmp_path: Path) -> None:
    embed(images[:10], encoder(), cache=tmp_path)
    assert audit(images, encoder(), cache=tmp_path).cached == 10
    with pytest.raises(ValueError, match=r"holds no row of .* in float32, stored as float32; embed it first"):
        audit(images, encoder(), cache=tmp_path, storage="float32")
    with pytest.raises(ValueError, match="sample=0"):
        audit(images, encoder(), cache=tmp_path, sample=0)


def test_the_sample_is_seeded(images: torch.Tensor, tmp_path: Path) -> None:
    embed(images, encoder(), cache=tmp_path)
    first = audit(images, encoder(), cache=tmp_path, sample=3)
    assert first == audit(images, encoder(), cache=tmp_path, sample=3)


def test_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--cache", str(tmp_path)]
    assert main(["embed", "--data", "digits", "--quiet", *where]) == 0
    assert main(["cache", "audit", "digits", "--sample", "50", *where]) == 0
    assert "50 of 1,797 cached rows embedded again, 0 differ" in capsys.readouterr().out
    space = EmbeddingCache(tmp_path).open(EmbeddingCache(tmp_path).ls()[0].id)
    keys = space.keys()
    rows = space.read(keys).flip(0)
    for path in space.path.glob("*.safetensors"):
        path.unlink()
    with EmbeddingCache(tmp_path).open(space.id).writer() as writer:
        writer.add(keys, rows)
    assert main(["cache", "audit", "digits", *where]) == 1
    assert "wrong: row" in capsys.readouterr().out
