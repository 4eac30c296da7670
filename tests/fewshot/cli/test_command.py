"""`fewshot` itself: its help, and whatever goes wrong as one line."""

from __future__ import annotations

import pytest

from fewshot.cli import main
from fewshot.cli.command import VERBS


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


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="way=20"):
        main(["evaluate", "--way", "20", "--debug"])


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
