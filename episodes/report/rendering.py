"""Pages from templates: everything in them is escaped, and nothing is fetched."""

from __future__ import annotations

from typing import Any

from episodes.comparison import format_p
from episodes.printable import printable

_HERE = "episodes.report"


def render(template: str, *, package: str = _HERE, page: bool = True, **values: Any) -> str:
    """A template filled in, as a page or as a part of one.

    Args:
        template: file name; it renders one ``<div class="report">``.
        package: that holds it in a folder ``templates``.
        page: wrap it as a whole HTML page.
        values: what it shows; text is escaped.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    folders = dict.fromkeys([package, _HERE])
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in folders]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda value, places=2: f"{100 * value:.{places}f}"
    environment.filters["p"] = format_p
    environment.filters["printable"] = printable
    return environment.get_template("page.html" if page else template).render(fragment=template, **values)


def drawn(svg: str) -> Any:
    """SVG text made by `episodes.report.svg`, which escapes what it is given, as a template takes it."""
    from markupsafe import Markup

    return Markup(svg)
