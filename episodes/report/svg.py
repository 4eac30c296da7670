"""SVG as text: elements, escaped words, round numbers. Colours come from the page's style, light or dark."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from episodes.printable import printable

COLOURS = 10  # series that the style tells apart; more begin again
_STYLE = Path(__file__).parent / "templates" / "chart.css"
_LETTER = 6.6  # pixels of a letter of 12 pixels, on average


def style() -> str:
    """The style of charts, for a picture that stands alone."""
    return _STYLE.read_text(encoding="utf-8")


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; attribute values are escaped, the content is not. ``_`` in names stands for ``-``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(words: object, x: float, y: float, **attributes: object) -> str:
    """Escaped words at a place."""
    return tag("text", escape(printable(words)), x=float(x), y=float(y), **attributes)


def picture(content: str, width: float, height: float, title: str, *, alone: bool = False) -> str:
    """An SVG picture of that size, with a title for those who cannot see it.

    Args:
        content: elements.
        width: in pixels.
        height: in pixels.
        title: what it shows.
        alone: bring the style along, and say which language it is written in.
    """
    own = f"<style>{style()}</style>" if alone else ""
    extra = {"xmlns": "http://www.w3.org/2000/svg", "width": round(width), "height": round(height)} if alone else {}
    return tag(
        "svg", tag("title", escape(printable(title))) + own + content, viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img", class_="chart", **extra,
    )  # fmt: skip


def shortened(words: str, width: float) -> str:
    """Words cut to about so many pixels."""
    letters = max(2, int(width / _LETTER))
    shown = printable(words)
    return shown if len(shown) <= letters else f"{shown[: letters - 1]}…"


def width_of(words: str) -> float:
    """Pixels that words take, about."""
    return _LETTER * len(printable(words))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two bounds.

    >>> ticks(0, 1, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
