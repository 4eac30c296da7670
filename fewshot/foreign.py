"""Another distribution called `episodes` writes into this one's package of that name; what to say where that shows."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

REPAIR = "pip uninstall episodes && pip install --force-reinstall --no-deps fewshot"


def foreign_episodes() -> str | None:
    """The version of a distribution called `episodes`, which is not this one; None where there is none."""
    try:
        return version("episodes")
    except PackageNotFoundError:
        return None


def explain(error: ImportError) -> ImportError:
    """The error, with the cause named where it is a foreign `episodes`."""
    found = foreign_episodes() if (error.name or "").partition(".")[0] == "episodes" else None
    if found is None:
        return error
    return ImportError(
        f"another distribution, episodes {found}, has overwritten files of the package 'episodes' that fewshot brings "
        f"({error}). Repair: {REPAIR}",
        name=error.name, path=error.path,
    )  # fmt: skip
