"""Does the test set contain training data? Rows and classes shared by two sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from episodes.source import Source

_BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class Leakage:
    """What two sources share.

    Attributes:
        train: name of the source learned from.
        test: name of the source evaluated on.
        classes: class names in both.
        rows: pairs of (row of train, row of test) with identical content.
    """

    train: str
    test: str
    classes: list[str]
    rows: list[tuple[int, int]]

    def __bool__(self) -> bool:
        """Whether anything is shared."""
        return bool(self.classes or self.rows)

    def __str__(self) -> str:
        if not self:
            return f"{self.train!r} and {self.test!r} share no class and no row."
        found = []
        if self.classes:
            more = ", ..." if len(self.classes) > 3 else ""
            listed = ", ".join(map(repr, self.classes[:3])) + more
            found.append(f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''} ({listed})")
        if self.rows:
            pairs = ", ".join(f"{one} = {other}" for one, other in self.rows[:3])
            pairs += ", ..." if len(self.rows) > 3 else ""
            found.append(f"{len(self.rows)} identical row{'s' if len(self.rows) > 1 else ''} ({pairs})")
        return f"{self.train!r} and {self.test!r} share {' and '.join(found)}."


def check_leakage(train: Source, test: Source, *, strict: bool = True) -> Leakage:
    """Make sure that two sources share no class name and no identical row.

    Rows in memory are compared by their numbers, picture files and texts by their bytes: a copy under another
    file name is found, the same picture saved once more as JPEG is not.

    Args:
        train: what is learned from (base).
        test: what is evaluated on (novel).
        strict: raise where anything is shared; otherwise only report it.

    Returns:
        what they share; it is false where that is nothing.

    Raises:
        ValueError: they share something (and `strict`), or hold different kinds of rows.

    >>> from episodes import TensorSource
    >>> base = TensorSource(torch.eye(3), ["owl", "owl", "crow"], name="base")
    >>> novel = TensorSource(torch.eye(3)[1:], ["jay", "kite"], name="novel")
    >>> print(check_leakage(base, novel, strict=False))
    'base' and 'novel' share 2 identical rows (1 = 0, 2 = 1).
    """
    if train.kind != test.kind:
        raise ValueError(
            f"{train.name!r} holds {train.kind} and {test.name!r} {test.kind}; only rows of one kind can be compared."
        )
    if hasattr(train, "digests") != hasattr(test, "digests"):
        stored, held = (train, test) if hasattr(train, "digests") else (test, train)
        raise ValueError(
            f"{stored.name!r} is compared by its files and {held.name!r} by its numbers; "
            "load both in the same way, or embed both with one encoder."
        )
    present = [{source.class_names[i] for i in source.labels.unique().tolist()} for source in (train, test)]
    first: dict[bytes, int] = {}
    for row, digest in enumerate(_digests(train)):
        first.setdefault(digest, row)
    rows = [(first[digest], row) for row, digest in enumerate(_digests(test)) if digest in first]
    leakage = Leakage(train.name, test.name, sorted(present[0] & present[1]), rows)
    if leakage and strict:
        raise ValueError(f"{leakage} Remove them from one of the two, or pass strict=False to only report them.")
    return leakage


def _digests(source: Source) -> list[bytes]:
    own = getattr(source, "digests", None)
    if own is not None:
        return list(own())
    digests: list[bytes] = []
    row_bytes = source[torch.zeros(1, dtype=torch.int64)].nbytes if len(source) else 1
    for block in torch.arange(len(source)).split(max(1, _BLOCK_BYTES // max(1, row_bytes))):
        rows = source[block].float().detach().cpu().contiguous().numpy()
        digests += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
    return digests
