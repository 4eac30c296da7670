"""Another package called `episodes` stands in the place of this one's; what to say where that shows."""

from __future__ import annotations

import csv
import hashlib
from base64 import urlsafe_b64encode
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from types import ModuleType

ADDRESS = "git+https://github.com/fewshot/fewshot"  # there is no release in a package index
REPAIR = f'pip uninstall -y episodes && pip install --force-reinstall --no-deps "fewshot @ {ADDRESS}"'


def foreign_episodes() -> str | None:
    """The version of a distribution called `episodes`, which is not this one; None where there is none."""
    try:
        return version("episodes")
    except PackageNotFoundError:
        return None


def altered_files() -> list[str]:
    """Installed files of `episodes` and `fewshot` that are missing or not as they were installed.

    What another distribution overwrote stays so, or is gone, after that one was uninstalled. An editable installation
    lists no files of the packages, so there are none of them here.
    """
    try:
        installed = distribution("fewshot")
    except PackageNotFoundError:
        return []
    altered = []
    # `Distribution.files` leaves out what is missing, from Python 3.12 on.
    for name, digest, *_ in csv.reader((installed.read_text("RECORD") or "").splitlines()):
        kind, _, wanted = digest.partition("=")
        if name.partition("/")[0] not in ("episodes", "fewshot") or kind != "sha256":
            continue
        try:
            content = Path(str(installed.locate_file(name))).read_bytes()
            found = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        except OSError:
            found = ""
        if found != wanted:
            altered.append(name)
    return altered


def explain(error: ImportError) -> ImportError:
    """The error, with the cause named where files of `episodes` are not this distribution's."""
    if (error.name or "").partition(".")[0] != "episodes":
        return error
    cause = overwritten()
    if cause is None:
        return error
    return ImportError(f"{cause} ({error}). Repair: {REPAIR}", name=error.name, path=error.path)


def explain_package(found: ModuleType) -> ImportError:
    """An error that says why the package `episodes` that Python found is not the one that fewshot brings."""
    cause = overwritten()
    if cause is not None:
        return ImportError(f"{cause}. Repair: {REPAIR}", name="episodes")
    file = getattr(found, "__file__", None)  # a folder without __init__.py has none
    place = file or next(iter(found.__path__), "an unknown place")
    return ImportError(
        f"fewshot brings a package called 'episodes', but Python finds another first: {place}. Rename that one, or run "
        "Python where it is not on sys.path.", name="episodes", path=file,
    )  # fmt: skip


def overwritten() -> str | None:
    """Who overwrote installed files of `episodes`; None where nobody did."""
    found = foreign_episodes()
    if found is not None:
        return (
            f"another distribution, episodes {found}, has overwritten files of the package 'episodes' that fewshot "
            "brings"
        )
    altered = altered_files()
    if altered:
        return f"files of fewshot are missing or were overwritten by another distribution: {few(altered)}"
    return None


def few(names: list[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
