"""Commands that documents, notebooks and docstrings name can be given: their verbs, options and choices exist."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewshot.cli.command import VERBS, _parser

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
MODULES = [path for package in ("episodes", "fewshot") for path in sorted((ROOT / package).rglob("*.py"))]
MENTIONED = ("the following arguments are required", "expected one argument", "expected at least one argument")


def commands(text: str) -> Iterator[str]:
    """Those in backticks, and lines that are one; a line that ends in a backslash goes on."""
    text = re.sub(r"\\\n\s*", " ", text)
    verbs = "|".join(VERBS)
    yield from (" ".join(found.split()) for found in re.findall(rf"`(fewshot (?:{verbs})\b[^`]*)`", text))
    yield from re.findall(rf"^\s*(?:[$!] )?(fewshot (?:{verbs}) .*)$", text, re.M)


def wrong(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says against a command, but for arguments that a mere mention leaves out."""
    for one in command.split(" && "):
        _, verb, *given = shlex.split(one.partition(" | --")[0], comments=True)  # `[--json | --csv]`
        given = [word.strip("[]") if "[" not in word[1:] else word for word in given if word != "..."]
        parser = _parser(verb)
        try:
            options, rest = parser.parse_known_args([verb, *given])
            options.parser.refuse_rest(rest)
        except SystemExit:
            said = capsys.readouterr().err
            if not any(words in said for words in MENTIONED):
                return said
    return ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_can_be_given(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    for command in commands(text):
        assert not wrong(command, capsys), command


def test_commands_of_docstrings_and_messages_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    for path in MODULES:
        for command in commands(path.read_text(encoding="utf-8")):
            assert not wrong(command, capsys), (path, command)


def test_a_wrong_command_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    text = "`fewshot cache list` and\n```\n$ fewshot embed --encodre x\\\n    --json\n```\n`fewshot fit --strategy`"
    found = list(commands(text))
    assert found == ["fewshot cache list", "fewshot fit --strategy", "fewshot embed --encodre x --json"]
    assert "did you mean ls?" in wrong(found[0], capsys) and not wrong(found[1], capsys)
    assert "--encodre" in wrong(found[2], capsys)
