"""Another distribution that overwrote files of this one is found, and named."""

from __future__ import annotations

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
