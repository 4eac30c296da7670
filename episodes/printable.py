"""Names from elsewhere, made safe to show: on a terminal, and in files that other programs open."""

from __future__ import annotations

_JOINERS = "\u200c\u200d"  # without which several scripts and emoji fall apart
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would compute a cell that begins so


def printable(text: object) -> str:
    r"""Text on one line without control characters, which could move a terminal's cursor or hide what is written.

    They are spelled out, as are characters that change the direction of writing and halves of surrogate pairs.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    shown = (c if c.isprintable() or c in _JOINERS else ascii(c)[1:-1] for c in str(text))
    return "".join(shown)


def spreadsheet_cell(text: object) -> str:
    """Text for a CSV cell, with an apostrophe in front where a spreadsheet would take it for a formula.

    >>> spreadsheet_cell("=1+1")
    "'=1+1"
    """
    value = str(text)
    return f"'{printable(value)}" if value.startswith(_FORMULA) else printable(value)
