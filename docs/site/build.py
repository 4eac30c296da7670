"""Build the documentation site: ``python docs/site/build.py OUT``; a warning is an error.

Pages keep the places that they have in the repository, so that their links work in both; README is the first page.
Links to files that are no page lead to the repository.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/fewshot/fewshot/blob/main"
PAGES = {  # sections of the contents, and their pages in order
    "Start": ["docs/installation", "docs/own_photos", "docs/inputs", "docs/choosing"],
    "Tutorials": ["notebooks/*"],
    "How to": [
        "docs/domain_adaptation", "docs/transfer", "docs/tasks_and_unlabelled", "docs/sounds_and_other_rows",
        "docs/suites", "docs/export", "docs/*",
    ],
    "Reference": ["docs/learners", "docs/api", "reference/index"],
    "Background": ["docs/design", "benchmarks/README", "CHANGELOG", "CONTRIBUTING"],
}  # fmt: skip
PICTURES = (".svg", ".png", ".jpg")


def build(out: Path) -> int:
    """Lay the pages out in a temporary folder and run Sphinx over them; its exit status."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        lay_out(pages)
        own = Path(__file__).parent
        arguments = ["-W", "--keep-going", "-q", "-b", "html", "-c", str(own), "-d", str(Path(folder) / "trees")]
        return int(build_main([*arguments, str(pages), str(out)]))


def lay_out(pages: Path) -> None:
    """Copy pages and pictures to where they are in the repository, and make the reference."""
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
    from reference import write_reference

    sources = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
    sources += [*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    known = {source.relative_to(ROOT).as_posix() for source in sources}
    for source in sources:
        place = source.relative_to(ROOT)
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".md":
            text = with_links(text, place.parent, known)
        target = pages / ("index.md" if place == Path("README.md") else place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + (contents() if target.name == "index.md" else ""), encoding="utf-8")
    for picture in (ROOT / "docs").iterdir():
        if picture.suffix in PICTURES:
            shutil.copy(picture, pages / "docs" / picture.name)
    write_reference(pages / "reference", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))


def with_links(text: str, folder: Path, known: set[str]) -> str:
    """The page with links to README leading to the first page, and those to no page to the repository."""

    def led(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        place = Path(os.path.normpath(folder / target)).as_posix()
        if place == "README.md":
            return f"]({os.path.relpath('index.md', folder)}{anchor})"
        if place in known or target.endswith(PICTURES):
            return match[0]
        return f"]({REPOSITORY}/{place}{anchor})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)", led, text)


def contents() -> str:
    """The contents, for the side of every page."""
    listed, parts = {page for pages in PAGES.values() for page in pages}, []
    for caption, pages in PAGES.items():
        lines = []
        for page in pages:
            found = sorted((ROOT / page).parent.glob(Path(page).name + ".*")) if "*" in page else []
            names = [
                one.relative_to(ROOT).with_suffix("").as_posix() for one in found if one.suffix in (".md", ".ipynb")
            ]
            lines += [name for name in names if name not in listed] if "*" in page else [page]
        parts.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(lines) + "\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/site/build.py OUT")
    sys.exit(build(Path(sys.argv[1])))
