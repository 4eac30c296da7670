"""Word vectors from a text file (GloVe, word2vec) as an encoder of texts."""

from __future__ import annotations

import gzip
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from episodes.identity import digest, digest_array
from fewshot.encoders.encoder import Encoder

POOLS = ("mean", "max", "sif")
_WORDS = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")  # words, also with hyphen or apostrophe, and single signs
_log = logging.getLogger(__name__)


class Coverage(NamedTuple):
    """How much of some texts the vectors know."""

    share: float  # of all words, 0..1; signs count only where they are known
    unknown: list[tuple[str, int]]  # the most frequent unknown words, with counts
    empty: int  # texts of which no token is known


class WordVectors(Encoder):
    """``vectors:FILE``: each text is the pooled vectors of its words; unknown words are left out.

    The file has a word and D numbers a line, as GloVe and word2vec write them: with or without a first line of counts,
    plain or ``.gz``. Numbers are split off from the right, so words may hold spaces. Texts are cut into words and
    signs; a word that is not in the file is looked for in lower case, then without its apostrophe.

    Args:
        model: the file.
        pool: ``"mean"``; ``"max"`` of each feature; ``"sif"``: a mean that weighs word w by ``a / (a + p(w))``, p from
            its place in the file by Zipf's law (files list frequent words first), less the part along `common`.
        a: of ``"sif"``.
        words: the most words read, from the first line on; None reads all.

    Attributes:
        common: unit vector ``[D]`` whose part ``"sif"`` takes out of every text; None until `fit`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no word with D numbers (it is named), or an argument out of range.

    Reference: Pennington, Socher, Manning, "GloVe: global vectors for word representation", EMNLP 2014; Arora, Liang,
    Ma, "A simple but tough-to-beat baseline for sentence embeddings", ICLR 2017.
    """

    module: nn.Embedding

    def __init__(self, model: str, *, pool: str = "mean", a: float = 1e-3, words: int | None = None) -> None:
        if pool not in POOLS:
            raise ValueError(f"pool={pool!r}; it must be one of {', '.join(POOLS)}.")
        if not a > 0:
            raise ValueError(f"a={a!r}; it must be above 0.")
        names, table = read_vectors(model, words)
        self._places = {name: place for place, name in reversed(list(enumerate(names)))}  # the first of equals
        self.module = nn.Embedding.from_pretrained(torch.from_numpy(table))
        self.module.eval()
        self.pool, self.a, self.common = pool, a, None
        self.name, self.dim = f"vectors:{Path(model).name}", table.shape[1]
        ranks = torch.arange(1, len(names) + 1, dtype=torch.float64)
        chance = 1 / (ranks * (1 / ranks).sum())
        self._weights = (a / (a + chance)).float()
        self._words = digest(list(self._places.items()))
        self._table = digest_array(table)

    common: Tensor | None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Words, vectors and pooling, by value."""
        return {
            "family": "vectors",
            "words": self._words,
            "table": self._table,
            "pool": self.pool,
            "a": self.a if self.pool == "sif" else None,
            "common": None if self.common is None else digest_array(self.common.cpu()),
        }

    def fit(self, texts: Iterable[str]) -> WordVectors:
        """Find what all texts share, from some texts of their kind (no labels), for ``"sif"`` to take out.

        Returns:
            Itself, another encoder to the cache from now on.

        Raises:
            ValueError: another pooling than ``"sif"``, or no text with a known word.
        """
        if self.pool != "sif":
            raise ValueError(f"fit is of pool='sif'; with pool={self.pool!r} there is nothing to learn from texts.")
        self.common = None
        rows = self.encode_texts(list(texts)).double().cpu()
        rows = rows[rows.any(1)]
        if not len(rows):
            raise ValueError("none of the texts has a word that the vectors know.")
        axis = torch.linalg.svd(rows, full_matrices=False).Vh[0].float()
        self.common = axis * torch.sign(axis[axis.abs().argmax()])  # of both directions always the same
        return self

    def coverage(self, texts: Iterable[str], most: int = 10) -> Coverage:
        """How many of the tokens are known, and the most frequent that are not."""
        known, empty, unknown = 0, 0, Counter[str]()
        for text in texts:
            tokens = _WORDS.findall(text)
            missing = [token for token in tokens if self._place(token) is None]
            known += len(tokens) - len(missing)
            empty += len(missing) == len(tokens)
            missing = [token for token in missing if token[0].isalnum()]
            unknown.update(missing)
        total = known + sum(unknown.values())
        return Coverage(known / total if total else 0.0, unknown.most_common(most), empty)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``; zeros, and a note in the log, where no word is known."""
        tokens = [[p for t in _WORDS.findall(text) if (p := self._place(t)) is not None] for text in texts]
        empty = [text for text, found in zip(texts, tokens, strict=True) if not found]
        if empty:
            _log.warning(
                "%d of %d texts hold no word that %s knows, and become zeros: %r",
                len(empty), len(texts), self.name, empty[0][:60],
            )  # fmt: skip
        table, device = self.module.weight, self.device  # [W, D]
        flat = torch.tensor([place for found in tokens for place in found], dtype=torch.long, device=device)
        starts = torch.tensor([0, *np.cumsum([len(found) for found in tokens])[:-1]], dtype=torch.long, device=device)
        if self.pool == "sif":
            weights = self._weights.to(device)[flat]
            rows = embedding_bag(flat, table, starts, mode="sum", per_sample_weights=weights)
            lengths = torch.tensor([max(1, len(found)) for found in tokens], device=device)
            rows = rows / lengths.unsqueeze(1)
            if self.common is not None:
                axis = self.common.to(rows)
                rows = rows - (rows @ axis).unsqueeze(1) * axis
            return rows
        return embedding_bag(flat, table, starts, mode=self.pool)

    def _place(self, token: str) -> int | None:
        lower = token.lower()
        for word in (token, lower, lower.replace("'", "").replace("’", "")):
            if (place := self._places.get(word)) is not None:
                return place
        return None


def read_vectors(path: str, words: int | None = None) -> tuple[list[str], np.ndarray]:
    """Words and vectors ``[W, D]``, float32, of a file in GloVe's or word2vec's text format.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no vectors, or a line of another width.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file of word vectors {str(file)!r}; check 'vectors:FILE'.")
    names: list[str] = []
    rows: list[np.ndarray] = []
    width = 0
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if words is not None and len(names) >= words:
                break
            line = line.rstrip("\r\n ")
            if not line:
                continue
            if not names and not width and len(line.split(" ")) == 2 and line.replace(" ", "").isdigit():
                width = int(line.split(" ")[1])  # word2vec's first line: counts of words and numbers
                continue
            width = width or _width(line)
            parts = line.rsplit(" ", width)
            try:
                if len(parts) != width + 1:
                    raise ValueError
                row = np.array(parts[1:], dtype=np.float32)
            except ValueError:
                raise ValueError(
                    f"line {number} of {str(file)!r} is no word with {width} numbers: {line[:60]!r}. The file must be "
                    "in the text format of GloVe or word2vec."
                ) from None
            names.append(parts[0])
            rows.append(row)
    if not rows:
        raise ValueError(f"{str(file)!r} holds no word vectors.")
    return names, np.stack(rows)


def _opened(file: Path) -> IO[str]:
    with open(file, "rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    return gzip.open(file, "rt", encoding="utf-8") if packed else open(file, encoding="utf-8")


def _width(line: str) -> int:
    """How many numbers end a line; the word before them is at least one piece."""
    count = 0
    for piece in reversed(line.split(" ")[1:]):
        try:
            float(piece)
        except ValueError:
            break
        count += 1
    return max(1, count)
