"""The command line: tables for people, JSON for machines, errors that help, resumed by the same line."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from episodes import Result, Results, evaluation_loop
from fewshot.cli import main
from fewshot.cli.command import VERBS
from fewshot.cli.listing import KINDS

FAST = ["--data", "digits", "--episodes", "40", "--quiet"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Standard output of a command; with a failure code, its standard error."""
    assert main(list(arguments)) == code
    out, err = capsys.readouterr()
    if code == 0:
        assert not err or "--quiet" not in arguments, err
    return out if code == 0 else err


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert "example" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["evaluat"])
    assert stop.value.code == 2


# evaluate


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--learner", "prototypes", "l2 | ridge(alpha=0.1)", "--shot", "1", "5")
    lines = out.splitlines()
    assert "5-way 1-shot" in lines[0]
    assert lines[2].startswith("prototypes")
    assert "± is the 95 % interval over sampled episodes" in out


def test_json_and_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--shot", "1", "--json")
    cell = json.loads(out)
    assert (cell["learner"], cell["episodes"], cell["recipe"]["evaluation"]["shot"]) == ("l2 | logistic", 40, 1)
    assert "correct" not in cell
    out = run(capsys, "evaluate", *FAST, "--shot", "5", "--learner", "prototypes", "nearest", "--compare")
    assert "prototypes - nearest = " in out


@pytest.mark.parametrize("engine", [[], ["--engine", "in-process"]])
def test_no_examples_are_for_learners_that_know_words(
    engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learners = ["--learner", "prototypes", "zero-shot", "--shot", "0", "1", "--out", str(tmp_path / "runs.jsonl")]
    scenes = ["--data", "scenes:shape(count=60)", "--encoder", "fewshot:tiny-clip", "--way", "3", "--query", "2"]
    out = run(capsys, "evaluate", *scenes, *learners, "--episodes", "5", "--quiet", *engine)
    assert re.search(r"prototypes +- +\d", out) and re.search(r"zero-shot +\d[\d.]+ ± [\d.]+ +\d", out), out


def test_disjoint_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "evaluate", *FAST, "--disjoint", "--shot", "5")
    assert "disjoint episodes: the sampling of the data is covered too" in out


def test_the_same_line_skips_what_is_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    line = ["evaluate", *FAST, "--learner", "prototypes", "nearest", "--out", str(out)]
    first = run(capsys, *line)
    written = out.read_bytes()
    assert run(capsys, *line) == first
    assert out.read_bytes() == written


STOPPED = """
import signal, sys
from episodes import evaluation_loop
from fewshot.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit that it is ignored
episodes, score = [], evaluation_loop.score
def stopped(cell, episode, targets):
    episodes.append(len(targets))
    if sum(episodes) > 1500:
        signal.raise_signal(signal.SIGINT)  # as by Ctrl-C
    return score(cell, episode, targets)
evaluation_loop.score = stopped
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_is_resumed_by_the_same_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    line = ["evaluate", "--data", "digits", "--learner", "prototypes", "--shot", "5", "--episodes", "3000", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *line, "--out", str(out)], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 130 and b"1,024 episodes of the first are in" in done.stderr, done.stderr
    assert b"the same command resumes" in done.stderr
    assert [Path(name).suffix for name in os.listdir(tmp_path)] == [".partial"]
    assert main([*line, "--out", str(whole)]) == 0
    episodes, score = [], evaluation_loop.score

    def counted(cell: Any, episode: Any, targets: Tensor) -> Tensor:
        episodes.append(len(targets))
        return score(cell, episode, targets)

    monkeypatch.setattr(evaluation_loop, "score", counted)
    assert main([*line, "--out", str(out)]) == 0
    assert sum(episodes) == 3000 - 1024  # the first block was kept
    capsys.readouterr()
    a, b = (json.loads(path.read_text()) for path in (out, whole))
    assert a["correct"] == b["correct"]
    assert a["key"] == b["key"]
    assert sorted(os.listdir(tmp_path)) == [out.name, whole.name], "nothing begun is left"


def test_cells_on_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(
        capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest", "--engine", "2", "--out", str(tmp_path / "r")
    )
    assert out == run(capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--way", "20"], "way=20, but 'digits' has 10 classes with at least shot + query = 16 rows; lower way"),
        (["--data", "digitz"], "unknown dataset 'digitz'; did you mean 'digits'?"),
        (["--learner", "prototipes"], "unknown learner 'prototipes'; did you mean 'prototypes'"),
        (["--learner", "ridge(alfa=1)"], "'ridge' has no argument 'alfa'; did you mean 'alpha'?"),
        (["--learner", "ridge(alpha=)"], "cannot read the spec"),
        (["--learner", "ridge(alpha=-1)"], "alpha"),
        (["--encoder", "timn:resnet18"], "did you mean 'timm"),
        (["--episodes", "0"], "episodes=0; it must be at least 1"),
        (["--seed", "-1"], "seed=-1"),
        (["--engine", "2"], "--engine needs --out"),
    ],
)
def test_wrong_use_is_explained(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    err = run(capsys, "evaluate", "--data", "digits", *arguments, code=2)
    assert err.startswith("fewshot: error: ")
    assert message in err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="way=20"):
        main(["evaluate", "--way", "20", "--debug"])


def test_files_that_are_not_there_or_not_ours(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "there is no file" in run(capsys, "compare", str(tmp_path / "none.jsonl"), code=1)
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    assert "line 1: not a result of this library" in run(capsys, "compare", str(tmp_path / "other.jsonl"), code=2)
    assert "gone" in run(capsys, "evaluate", "--data", f"folder:{tmp_path / 'gone'}", code=1)


# the other verbs


@pytest.fixture
def results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = str(tmp_path / "runs.jsonl")
    run(capsys, "evaluate", *FAST, "--learner", "prototypes", "nearest", "ridge", "--out", path)
    return path


def test_compare(results: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "compare", results)
    assert "digits, 5-way 1-shot:" in out
    assert out.count("(Holm)") == 6
    out = run(capsys, "compare", results, "--reference", "ridge", "--json")
    assert [json.loads(line)["b"] for line in out.splitlines()] == ["ridge"] * 4
    assert "reference='x'" in run(capsys, "compare", results, "--reference", "x", code=2)


def test_report(results: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "csv", "latex")}
    plot = tmp_path / "plot.png"
    main(["report", results, *(f"--{kind}={path}" for kind, path in files.items()), "--plot", str(plot)])
    assert "prototypes" in capsys.readouterr().out
    assert files["html"].read_text().startswith("<!doctype html>")
    assert len(files["csv"].read_text().splitlines()) == 7
    assert r"\toprule" in files["latex"].read_text()
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_report_has_a_title_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = str(tmp_path / "runs.jsonl"), tmp_path / "report.html"
    main(["evaluate", "--data", "scenes:size", "--encoder", "pixels(size=8)", "--learner", "prototypes", "--way", "2",
          "--shot", "1", "--episodes", "5", "--quiet", "--keep-predictions", "--out", out])  # fmt: skip
    assert main(["report", out, "--html", str(page), "--title", "Small & large", "--pictures", "scenes:size"]) == 0
    assert "<h1>Small &amp; large</h1>" in page.read_text() and "data:image/jpeg" in page.read_text()
    assert main(["report", out, "--pictures", "scenes:size"]) == 2
    assert "--pictures are shown on the page; say where: --html FILE" in capsys.readouterr().err
    assert main(["report", out, "--html", str(page), "--pictures", "digits:images"]) == 2
    assert "the pictures are of classes ['0', '1', '2']" in capsys.readouterr().err


def test_the_report_says_a_command_that_makes_the_same_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from episodes.report.recipes import command

    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    main(["evaluate", "--data", "scenes:size", "--encoder", "pixels(size=8)", "--learner", "l2 | ridge(alpha=0.1)", "--way",
          "2", "--shot", "3", "--episodes", "4", "--quiet", "--seed", "5", "--disjoint", "--out", str(first)])  # fmt: skip
    (cell,) = Results.load(first).cells
    words = shlex.split(command(cell))
    assert main([*words[1:], "--quiet", "--out", str(again)]) == 0
    (same,) = Results.load(again).cells
    assert same.key == cell.key and same.scores.tolist() == cell.scores.tolist()
    own = Result("mine", {"learner": {"identity": "x"}, "evaluation": cell.evaluation}, cell.scores)
    assert command(own) == ""


def test_answers_that_are_kept_are_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = str(tmp_path / "runs.jsonl"), tmp_path / "report.html"
    args = ["evaluate", *FAST, "--shot", "1", "--keep-predictions", "--out", out]
    run(capsys, *args, "--learner", "prototypes")
    run(capsys, *args, "--learner", "nearest", "--engine", "2", "--metric", "log-loss")
    main(["report", out, "--html", str(page)])
    assert "log-loss in nats (lower is better)" in capsys.readouterr().out
    assert page.read_text().count("hardest of 10 classes") == 2
    assert "--keep-predictions needs --out FILE" in run(capsys, "evaluate", "--keep-predictions", code=2)


def test_a_file_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.jsonl").touch()
    for verb in ("compare", "report"):
        assert "r.jsonl holds no results; `fewshot evaluate --out" in run(
            capsys, verb, str(tmp_path / "r.jsonl"), code=2
        )


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Classifies by the nearest class mean" in run(capsys, "list", "learners")
    found = json.loads(run(capsys, "list", "--json"))
    assert all(summary for entries in found.values() for summary in entries.values()), found
    assert "last(k=1, " in run(capsys, "list", "strategies", "last")
    assert set(found) == set(KINDS)
    assert found["splits"]["cifar-fs"] == "64 train, 16 val, 20 test"
    assert all(summary for kind in found.values() for summary in kind.values()), "something has no description"


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
    root = str(Path(__file__).parents[3])
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


@pytest.mark.parametrize(
    "sampler", ["dirichlet(alpha=1.0)", "open-set(open_way=3)", "variable(least_way=3, most_way=6)", "disjoint"]
)
def test_samplers(capsys: pytest.CaptureFixture[str], sampler: str) -> None:
    args = ["evaluate", "--sampler", sampler, "--shot", "1", "--episodes", "20", "--json", "--quiet"]
    [cell] = [json.loads(line) for line in run(capsys, *args).splitlines()]
    assert cell["episodes"] == 20


def test_open_set_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", "--shot", "1", "--episodes", "20", "--quiet", "--metric", "auroc"]
    assert "l2 | logistic" in run(capsys, *args, "--sampler", "open-set")
    assert "draws none; take OpenSetSampler" in run(capsys, *args, code=2)
    assert "did you mean 'dirichlet'" in run(capsys, "evaluate", "--sampler", "dirichlett", "--quiet", code=2).lower()
    assert "sampler 'dirichlet' has no argument 'beta'; it takes: alpha, classes, episodes" in run(
        capsys, "evaluate", "--sampler", "dirichlet(beta=1)", "--quiet", code=2
    )


def test_embed_and_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    where = ["--cache", cache]
    embed = ["embed", "--data", "digits", "--quiet", *where]
    assert "1,797 computed" in run(capsys, *embed)
    report = json.loads(run(capsys, *embed, "--json"))
    assert (report["hits"], report["computed"]) == (1797, 0)
    [space] = json.loads(run(capsys, "cache", "ls", "--json", *where))
    short = space["id"][:8]
    assert short in run(capsys, "cache", "ls", *where)
    assert '"family": "pixels"' in run(capsys, "cache", "info", short, *where)
    assert "all checksums are right" in run(capsys, "cache", "verify", *where)
    assert "1,797 rows" in run(capsys, "cache", "compact", short, *where)
    assert "wrote 1,797 rows" in run(capsys, "cache", "export", short, str(tmp_path / "rows.safetensors"), *where)
    assert "nothing to remove" in run(capsys, "cache", "prune", "--older-than", "30d", *where)
    assert "would remove" in run(capsys, "cache", "prune", "--max-bytes", "1KB", "--dry-run", *where)
    assert "removed" in run(capsys, "cache", "rm", short, *where)
    assert "0 spaces" in run(capsys, "cache", "ls", *where)
    assert "needs an ID" in run(capsys, "cache", "rm", *where, code=2)
    assert "0 spaces begin with" in run(capsys, "cache", "info", "abc", *where, code=2)


def test_damage_is_an_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--cache", str(tmp_path)]
    run(capsys, "embed", "--data", "digits", "--quiet", *where)
    [segment] = tmp_path.glob("v1/*/*.safetensors")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    assert main(["cache", "verify", *where]) == 1
    assert "set aside" in capsys.readouterr().out


def test_base_data_reaches_the_learners(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", *FAST, "--learner", "cl2n | prototypes", "--shot", "1", "--json"]
    fitted, plain = json.loads(run(capsys, *line, "--base", "digits")), json.loads(run(capsys, *line))
    assert fitted["mean"] != plain["mean"]
    assert "leave it out" in run(capsys, "evaluate", *FAST, "--learner", "ridge", "--base", "digits", code=2)


def test_the_table_of_learners_is_current() -> None:
    from fewshot.cli.learner_table import learner_table

    written = (Path(__file__).parents[3] / "docs" / "learners.md").read_text(encoding="utf-8")
    assert written.endswith(learner_table()), "run: fewshot list learners --markdown, and put it into docs/learners.md"


# whatever goes wrong


def _mishap(kind: str) -> Exception:
    from safetensors import SafetensorError

    return {
        "TypeError": TypeError("unsupported operand"), "ZeroDivisionError": ZeroDivisionError("division by zero"),
        "FloatingPointError": FloatingPointError("the loss is nan at step 3; lower the learning rate"),
        "OverflowError": OverflowError("int too large"), "MemoryError": MemoryError(),
        "SafetensorError": SafetensorError("HeaderTooSmall"), "AttributeError": AttributeError("no attribute 'x'"),
        "AssertionError": AssertionError(), "KeyError": KeyError("dim"), "RecursionError": RecursionError("too deep"),
        "RuntimeError": RuntimeError("size mismatch for a:\n\tcopying a param\x1b[31m red"),
        "EOFError": EOFError(), "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "TypeError", "ZeroDivisionError", "FloatingPointError", "OverflowError", "MemoryError", "SafetensorError",
        "AttributeError", "AssertionError", "KeyError", "RecursionError", "RuntimeError", "EOFError",
        "UnicodeDecodeError",
    ],
)  # fmt: skip
def test_every_mishap_is_one_line(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = _mishap(kind)

    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr("fewshot.cli.doctor.run", fail)
    assert main(["doctor"]) == (2 if isinstance(error, ValueError) else 1)
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), "\x1b" in err) == ("", 1, False)
    assert err.startswith("fewshot: error: ")
    named = kind in ("TypeError", "ZeroDivisionError", "OverflowError", "SafetensorError", "AttributeError", "KeyError")
    assert ("--debug (or FEWSHOT_DEBUG=1)" in err) == (named or kind in ("AssertionError", "EOFError"))
    assert (f"{kind}: " in err) == (named or kind in ("AssertionError", "EOFError"))
    with pytest.raises(type(error)):
        main(["doctor", "--debug"])
    monkeypatch.setenv("FEWSHOT_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["doctor"])
