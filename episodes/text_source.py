"""`TextSource`: labelled texts, to be embedded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from episodes.inputs import item_kind, rows_of
from episodes.source import number_labels


class TextSource:
    """Texts by row. Learners need numbers, so a text encoder comes between.

    Args:
        texts: ``[M]`` strings, also a column of a table.
        labels: ``[M]``: integers or strings.
        class_names: one name per class; by default the distinct labels.
        name: what messages and results call it.

    Raises:
        ValueError: labels do not fit the texts, or a text is no string.

    >>> source = TextSource(["lost my card", "card is late"], ["lost", "late"])
    >>> source.labels.tolist(), source.class_names, source.read(0)
    ([1, 0], ['late', 'lost'], b'lost my card')
    """

    kind = "texts"

    def __init__(
        self,
        texts: Sequence[str],
        labels: Tensor | ArrayLike | Sequence[Any],
        class_names: Sequence[str] | None = None,
        *,
        name: str = "texts",
    ) -> None:
        if isinstance(texts, str):
            raise ValueError(f"the texts of {name!r} are one string; give a list of strings.")
        self.texts: list[str] = list(rows_of(texts, "texts"))
        for row, text in enumerate(self.texts):
            if item_kind(text, on_disk=False) == "missing":
                raise ValueError(f"row {row} of {name!r} is missing ({text!r}); drop it, or give '' if it is empty.")
            if not isinstance(text, str):
                raise ValueError(f"row {row} of {name!r} is a {type(text).__name__}; texts are strings.")
        self.labels, self.class_names = number_labels(labels, class_names, len(self.texts), name)
        self.name = name

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        *,
        text_column: str | int | None = None,
        label_column: str | int | None = None,
        **options: Any,
    ) -> TextSource:
        """Texts from a table of texts and labels.

        Args:
            path: comma-separated (``.tsv``: tab-separated) UTF-8 text, with or without a header.
            text_column: name (then the first line is a header) or position of the texts. By default a column
                called text, sentence, query or the like, else the first of two.
            label_column: likewise of the labels; by default label, class, category or the like, else the
                other one of two.
            options: as for `TextSource`.

        Raises:
            ValueError: no such column, or a line without text or label.
            FileNotFoundError: there is no such table.
        """
        from episodes.labelled_tables import TEXT_NAMES, numbers_if_all, read_table

        rows = read_table(path, text_column, label_column, "text", TEXT_NAMES)
        options.setdefault("name", Path(path).stem)
        return cls([row.value for row in rows], numbers_if_all([row.label for row in rows]), **options)

    def __len__(self) -> int:
        """Number of texts M."""
        return len(self.texts)

    def __getitem__(self, index: Any) -> NoReturn:
        """Texts have no numbers yet.

        Raises:
            TypeError: always; it says what to do.
        """
        raise TypeError(
            f"{self.name!r} holds texts, which learners cannot compute with; embed them first: "
            "source = fewshot.embed(source, encoder). The strings are in source.texts."
        )

    def read(self, row: int) -> bytes:
        """A text as UTF-8."""
        return self.texts[row].encode()

    def describe(self, row: int) -> str:
        """A text, shortened, and its row, as messages name it."""
        text = self.texts[row]
        shown = text if len(text) <= 40 else text[:40] + "..."
        return f"text {shown!r} (row {row} of {self.name!r})"

    def select(self, rows: Tensor | ArrayLike, name: str | None = None) -> TextSource:
        """Some of the texts, with the same classes."""
        index = torch.as_tensor(rows).cpu()
        index = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__, labels=self.labels.index_select(0, index), name=name or self.name)
        part.texts = [self.texts[row] for row in index.tolist()]
        return part

    def digests(self) -> list[bytes]:
        """One digest ``[M]`` of each text."""
        return [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in self.texts]

    def fingerprint(self) -> str:
        """A digest of texts and labels."""
        digest = hashlib.sha256(b"texts" + b"".join(self.digests()))
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()[:32]

    def __repr__(self) -> str:
        return f"TextSource({self.name!r}, {len(self)} texts, {len(self.class_names)} classes)"
