"""``fewshot doctor``: what is installed, and whether it works."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_examples import run

from fewshot.cli import main


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    shown = run(capsys, "doctor")
    assert "all is well" in shown
    assert "http://127.0.0.1:9 cannot be reached" in shown
    assert "fewshot:tiny-clip, picture [1, 128] and word [1, 128]" in shown


def test_doctor_finds_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fewshot.cli import doctor

    monkeypatch.setenv("HF_HUB_OFFLINE", "yes")
    monkeypatch.setattr(doctor, "_self_test", lambda problems: "left out")
    monkeypatch.setattr(doctor, "_encoder", lambda problems: "left out")
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "PROBLEM: the embedding cache" in printed.err and "Set FEWSHOT_CACHE" in printed.err
    assert ".;" not in printed.err
    assert "not tried, since HF_HUB_OFFLINE=yes" in printed.out
    monkeypatch.setattr(doctor, "foreign_episodes", lambda: "0.0.3")
    assert main(["doctor", "--json"]) == 1
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert "another distribution, episodes 0.0.3" in problem and "pip uninstall -y episodes" in problem
    monkeypatch.setattr(doctor, "foreign_episodes", lambda: None)  # it was uninstalled, and took files along
    monkeypatch.setattr(doctor, "altered_files", lambda: [f"episodes/{name}.py" for name in "abcde"])
    assert main(["doctor", "--json"]) == 1
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert "episodes/a.py, episodes/b.py, episodes/c.py and 2 more" in problem and "git+https" in problem


def test_doctor_compares_versions(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's installation may have brought an older numpy, or the torch that is excluded."""
    from fewshot.cli import doctor

    found = {"numpy": "1.23.5", "torch": "2.13.0+cpu", "xxhash": None, "huggingface-hub": "0.20.1"}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name.replace("_", "-"), real(name)))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert 'PROBLEM: numpy is 1.23.5, and fewshot needs >=1.24: pip install "numpy>=1.24"' in printed.err
    assert "PROBLEM: torch is 2.13.0+cpu, and fewshot needs " in printed.err and "!=2.13.0" in printed.err
    assert 'PROBLEM: xxhash is not installed: pip install "xxhash>=3"' in printed.err
    assert "huggingface" not in printed.err, "an extra that is too old is no problem to who does not use it"
    assert "huggingface-hub is 0.20.1, and fewshot needs >=0.25" in printed.out
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "learn2learn" else real(package))
    assert "then learn2learn itself" in doctor.check_installation()[0]["extra learn2learn"]


def test_doctor_knows_a_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.cli import doctor

    monkeypatch.setitem(sys.modules, "torchvision", None)
    problems: list[str] = []
    assert doctor._encoder(problems) == "does not run"
    assert "cannot be imported with torch" in problems[0] and "in one line" in problems[0]
