"""The documentation site builds without a warning, holds what is public, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

from fewshot.encoders import ENTRIES as ENCODERS
from fewshot.learners import ENTRIES as LEARNERS
from fewshot.transforms import ENTRIES as TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton"):
        pytest.importorskip(name, reason="the site is built where the extra 'docs' is installed")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "site" / "build.py"), str(out)], capture_output=True, text=True, cwd=out
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """`docs/site/build.py` as a module; it imports Sphinx only where it builds."""
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(site: Path, name: str) -> str:
    """The text of a page, with its identifiers."""
    return unescape((site / f"{name}.html").read_text(encoding="utf-8"))


def test_every_document_and_notebook_is_a_page(site: Path) -> None:
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), ROOT / "benchmarks" / "README.md"]
    first = page(site, "index")
    for source in sources:
        place = source.relative_to(ROOT).with_suffix(".html").as_posix()
        assert (site / place).is_file() and f'href="{place}"' in first, place


def test_the_reference_has_every_learner_transform_and_family(site: Path) -> None:
    learners, transforms = page(site, "reference/fewshot.learners"), page(site, "reference/fewshot.transforms")
    adapters, encoders = page(site, "reference/fewshot.adaptation"), page(site, "reference/fewshot.encoders")
    for entry in LEARNERS.values():
        assert f'id="fewshot.learners.{entry.partition(":")[2]}"' in learners, entry
    for entry in TRANSFORMS.values():
        assert f'id="{entry.replace(":", ".")}"' in (adapters if ".adaptation." in entry else transforms), entry
    for name in ENCODERS:
        assert f">{name}:<" in encoders, name


def test_the_reference_has_every_public_name(site: Path) -> None:
    import episodes
    import fewshot

    pages = "".join(page(site, f"reference/{path.stem}") for path in (site / "reference").glob("*.html"))
    for package in (episodes, fewshot):
        for name in package.__all__:
            assert re.search(rf'"[\w./]*#?{package.__name__}[\w.]*\.{name}"', pages), name


def test_outputs_of_notebooks_are_shown(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in sorted((site / "notebooks").glob("*.html"))]
    assert len(pages) >= 6 and all("cell_output" in text for text in pages)


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]*", text)
        loaded += re.findall(r"<link\b(?![^>]*canonical)[^>]*\bhref=\"(?:https?:)?//[^\"]*", text)
        assert not loaded, (path.name, loaded)
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_links_between_documents_keep_and_others_lead_to_the_repository(build: ModuleType) -> None:
    known = {"docs/inputs.md", "benchmarks/README.md"}
    text = "[a](inputs.md#labels) [b](../benchmarks/README.md) [c](../README.md) [d](../LICENSE) [e](https://x.org/y)"
    assert build.with_links(text, Path("docs"), known) == (
        "[a](inputs.md#labels) [b](../benchmarks/README.md) [c](../index.md) "
        f"[d]({build.REPOSITORY}/LICENSE) [e](https://x.org/y)"
    )


def test_a_new_page_finds_its_place_in_the_contents(build: ModuleType) -> None:
    listed = re.findall(r"^((?:docs|notebooks)/\w+)$", build.contents(), re.M)
    expected = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "docs").glob("*.md")}
    expected |= {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert sorted(listed) == sorted(expected)
