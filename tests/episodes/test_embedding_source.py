"""`EmbeddingSource`: the same fingerprint for the same items and encoder, wherever the rows lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from embedding_examples import encoder, write_photographs

from fewshot import EmbeddingCache, embed


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


class TestSource:
    def test_the_fingerprint_follows_content_labels_and_encoder(self, photographs: list[Path], tmp_path: Path) -> None:
        def fingerprint(files: list[Path], seed: int = 0, labels: Any = None, cache: Any = tmp_path) -> str:
            return embed(files, encoder(seed), labels=labels, cache=cache).fingerprint()

        one = fingerprint(photographs)
        assert one == fingerprint(photographs, cache=False)
        different = {
            one, fingerprint(photographs[::-1]), fingerprint(photographs, seed=1),
            fingerprint(photographs, labels=range(11)),
        }  # fmt: skip
        assert len(different) == 4

    def test_a_selection_is_fingerprinted_like_its_own_dataset(self, photographs: list[Path], tmp_path: Path) -> None:
        whole = embed(photographs, encoder(), cache=tmp_path)
        part = whole.select([2, 5]).to("cpu")
        assert part.fingerprint() == embed([photographs[2], photographs[5]], encoder(), cache=tmp_path).fingerprint()
        assert torch.equal(part.features, whole.features[[2, 5]])

    def test_a_large_table_stays_on_disk(self, photographs: list[Path], tmp_path: Path) -> None:
        cache = EmbeddingCache(tmp_path)
        usual = embed(photographs, encoder(), cache=cache)
        mapped = embed(photographs, encoder(), cache=cache, memory_limit=50)
        assert mapped.features.dtype == torch.float16
        index = torch.tensor([[3, 10], [0, 0]])
        assert torch.equal(mapped[index], usual[index])
        assert mapped.fingerprint() == usual.fingerprint()


def test_features_that_were_changed_are_no_embedding_any_more(photographs: list[Path], tmp_path: Path) -> None:
    source = embed(photographs, encoder(), cache=tmp_path)
    mapped = embed(photographs, encoder(), cache=tmp_path, memory_limit=0)
    assert source.fingerprint() == mapped.fingerprint()
    assert source.select([0, 1]).fingerprint() == mapped.select([0, 1]).fingerprint() != source.fingerprint()
    before = source.fingerprint()
    source.features.data[0] += 1
    assert source.fingerprint() != before
    assert source.select([0, 1]).fingerprint() != mapped.select([0, 1]).fingerprint()
    mapped.features = source.features
    assert mapped.fingerprint() == source.fingerprint()
