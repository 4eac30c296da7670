"""Another distribution that overwrote files of this one is found, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_overwritten_files_are_explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import fewshot

    def missing(name: str) -> None:
        raise ImportError("cannot import name 'Episode' from 'episodes'", name="episodes")

    monkeypatch.delitem(vars(fewshot), "Learner", raising=False)
    monkeypatch.setattr(fewshot, "import_module", missing)
    with pytest.raises(ImportError, match=r"^cannot import name 'Episode'"):
        fewshot.Learner  # noqa: B018
    monkeypatch.setattr("fewshot.foreign.version", lambda name: "0.0.3")
    with pytest.raises(ImportError, match=r"another distribution, episodes 0.0.3, has overwritten .*pip uninstall"):
        fewshot.Learner  # noqa: B018
    monkeypatch.setattr("fewshot.foreign.foreign_episodes", lambda: None)
    monkeypatch.setattr("fewshot.foreign.altered_files", lambda: ["episodes/__init__.py"])
    with pytest.raises(ImportError, match=r"overwritten by another distribution: episodes/__init__.py .*Repair"):
        fewshot.Learner  # noqa: B018


@pytest.mark.parametrize("line", ["import fewshot", "from fewshot.learners import Ridge", "import fewshot.zsl"])
@pytest.mark.parametrize("name", ["episodes.py", "episodes/__init__.py"])
def test_another_package_of_that_name_is_explained(line: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "but Python finds another first" in last and str(tmp_path / name) in last and "Rename" in last, last


def test_a_distribution_in_our_place_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    from fewshot import foreign

    module = ModuleType("episodes")
    module.__path__ = ["/of/a/folder"]
    assert "/of/a/folder" in str(foreign.explain_package(module))
    monkeypatch.setattr(foreign, "foreign_episodes", lambda: "0.0.3")
    assert "another distribution, episodes 0.0.3" in (said := str(foreign.explain_package(module)))
    assert "Repair: pip uninstall -y episodes" in said


def test_altered_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import Distribution

    from fewshot import foreign

    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / "kept.py").write_bytes(b"kept")
    (tmp_path / "episodes" / "other.py").write_bytes(b"other")
    (tmp_path / "fewshot-1.dist-info").mkdir()
    kept = "sha256=efB2q90Zp1Lbcme__y-QIhYdEg3qkZ_ayi_9_CTKjJY"  # of b"kept", as installers write it
    names = ["episodes/kept.py", "episodes/other.py", "episodes/gone.py"]
    lines = [f"{name},{kept},4" for name in names] + ["episodes/listed-without-hash.py,,"]
    (tmp_path / "fewshot-1.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(foreign, "distribution", lambda name: Distribution.at(tmp_path / "fewshot-1.dist-info"))
    assert foreign.altered_files() == ["episodes/other.py", "episodes/gone.py"]
