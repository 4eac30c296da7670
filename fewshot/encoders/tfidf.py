"""`TfidfEncoder`: counts of words, rare ones weighing more; the baseline that every text encoder must beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.identity import digest, digest_array
from episodes.inputs import check_whole
from fewshot.encoders.encoder import Encoder


class TfidfEncoder(Encoder):
    """``tfidf:FILE``: ``(1 + log count) (1 + log((1 + n) / (1 + n_w)))`` for each word w of a corpus, at length one.

    Args:
        model: a file with one text a line, or the texts themselves: some of the kind that will be encoded, without
            labels. They decide which words count, and how much.
        words: the most features D, by frequency.
        pairs: pairs of neighbouring words count, too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a corpus without words.

    Reference: Spärck Jones, "A statistical interpretation of term specificity and its application in retrieval",
    Journal of Documentation 28 (1972).

    Example:
        >>> encoder = TfidfEncoder(["a good film", "a bad film", "good sound"])
        >>> encoder.encode_texts(["good good film", "unknown"]).shape
        torch.Size([2, 10])
    """

    def __init__(self, model: str | Iterable[str], *, words: int = 20_000, pairs: bool = True) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        corpus, self.name = _corpus(model)
        self._table = TfidfVectorizer(
            sublinear_tf=True, ngram_range=(1, 2 if pairs else 1), max_features=check_whole("words", words),
            dtype=np.float32, token_pattern=r"(?u)\b\w+\b",
        )  # fmt: skip
        try:
            self._table.fit(corpus)
        except ValueError:
            raise ValueError(f"the corpus of {self.name!r} holds no words; give texts, one a line.") from None
        self.dim = len(self._table.vocabulary_)
        order = sorted(self._table.vocabulary_, key=self._table.vocabulary_.__getitem__)
        self._identity = {
            "family": "tfidf", "words": digest(order), "weights": digest_array(self._table.idf_), "pairs": pairs
        }  # fmt: skip

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Words and their weights, by value."""
        return dict(self._identity)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``; zeros where no word is known."""
        return torch.from_numpy(self._table.transform(list(texts)).toarray())


def _corpus(model: str | Iterable[str]) -> tuple[list[str], str]:
    if not isinstance(model, str):
        return list(model), "tfidf"
    path = Path(model).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no corpus {str(path)!r}; 'tfidf:FILE' reads a file with one text a line.")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()], f"tfidf:{path.name}"
