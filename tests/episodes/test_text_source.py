"""`TextSource`: texts with labels, waiting for an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import TextSource

TEXTS = ["lost my card", "card is late", "I lost it", "größer"]


def test_texts_and_labels() -> None:
    source = TextSource(TEXTS, ["lost", "late", "lost", "other"], name="bank")
    assert (len(source), source.kind, source.name, source.class_names) == (
        4,
        "texts",
        "bank",
        ["late", "lost", "other"],
    )
    assert source.labels.tolist() == [1, 0, 1, 2]
    assert source.read(3) == "größer".encode()
    part = source.select(source.labels == 1)
    assert (part.texts, part.labels.tolist()) == (["lost my card", "I lost it"], [1, 1])


def test_indexing_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"'bank' holds texts.*fewshot\.embed\(source, encoder\)"):
        TextSource(TEXTS, [0, 1, 0, 2], name="bank")[0]


def test_fingerprint() -> None:
    first = TextSource(TEXTS, [0, 1, 0, 2]).fingerprint()
    assert TextSource(tuple(TEXTS), torch.tensor([0, 1, 0, 2]), name="other").fingerprint() == first
    assert TextSource(TEXTS[::-1], [0, 1, 0, 2]).fingerprint() != first
    assert TextSource(TEXTS, [0, 1, 1, 2]).fingerprint() != first
    assert TextSource(["ab", "c"], [0, 1]).fingerprint() != TextSource(["a", "bc"], [0, 1]).fingerprint()


def test_bad_texts() -> None:
    with pytest.raises(ValueError, match="are one string"):
        TextSource("hello", [0] * 5)
    with pytest.raises(ValueError, match="row 1 of 'texts' is a int"):
        TextSource(["a", 3], [0, 1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"has 2 rows but labels of shape \[1\]"):
        TextSource(["a", "b"], [0])


def test_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "intents.csv"
    path.write_text('text,category\n"my card, lost",lost\n"two\nlines",late\n')
    source = TextSource.from_csv(path)
    assert (source.texts, source.class_names, source.name) == (
        ["my card, lost", "two\nlines"],
        ["late", "lost"],
        "intents",
    )
    path.write_text("my card,lost\n,late\n")
    with pytest.raises(ValueError, match=r"line 2 .*no text in column 0.*text_column="):
        TextSource.from_csv(path)


def test_numbers_in_a_table_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nten,10\nnine,9\n")
    assert TextSource.from_csv(tmp_path / "t.csv").class_names == ["9", "10"]
    (tmp_path / "t.csv").write_text("text,label\none,01\ntwo,1\n")
    assert TextSource.from_csv(tmp_path / "t.csv").class_names == ["01", "1"]


def test_real_intents(shared_data: Path) -> None:
    (path,) = (shared_data / "text" / "banking77").rglob("test.csv")
    source = TextSource.from_csv(path)
    assert (len(source), len(source.class_names)) == (3080, 77)


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan])
def test_a_missing_text_is_named(missing: Any) -> None:
    with pytest.raises(ValueError, match="row 1 of 'bank' is missing"):
        TextSource(["a", missing, "b"], [0, 1, 0], name="bank")


def test_tables() -> None:
    pd = pytest.importorskip("pandas")
    texts = pd.Series(["lost card", "late card"], index=[7, 9])
    assert TextSource(texts, [0, 1]).texts == ["lost card", "late card"]
    assert TextSource(texts.to_frame("text"), [0, 1]).texts == ["lost card", "late card"]
    with pytest.raises(ValueError, match="row 1 of 'texts' is missing"):
        TextSource(pd.Series(["a", None], dtype="string"), [0, 1])
    with pytest.raises(ValueError, match=r"a table of 2 columns \('a', 'b'\)"):
        TextSource(pd.DataFrame({"a": ["x"], "b": ["y"]}), [0])
