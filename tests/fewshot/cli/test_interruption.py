"""Ctrl-C while a command is still importing, or inside of C code, ends it with 130 and one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Jobs in the background inherit that interruptions are ignored, so each of these asks for them.
AT_IMPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == WHERE:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
sys.argv = ["fewshot", "evaluate", "--data", "digits"]
from fewshot.cli import main
sys.exit(main())
"""
IN_C = """
import signal, sys
import episodes.evaluation
def swallowed(*given, **named):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("PyCapsule_Import could not import module") from None
signal.signal(signal.SIGINT, signal.default_int_handler)
episodes.evaluation.evaluate = swallowed
sys.argv = ["fewshot", "evaluate", "--data", "digits", "--quiet"]
from fewshot.cli import main
sys.exit(main())
"""
PLAIN_ERROR = IN_C.replace("signal.raise_signal(signal.SIGINT)", "raise KeyboardInterrupt")


def ended(code: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("where", ["fewshot.cli.command", "fewshot.cli.kept", "fewshot.cli.evaluate", "torch"])
def test_while_importing(where: str) -> None:
    code, said = ended(AT_IMPORT.replace("WHERE", repr(where)))
    assert code == 130 and said.startswith("fewshot: interrupted; nothing was kept") and "\n" not in said, said


def test_what_c_code_makes_an_error_of() -> None:
    code, said = ended(IN_C)
    assert code == 130 and said.startswith("fewshot: interrupted; nothing was kept") and "\n" not in said, said
    code, said = ended(PLAIN_ERROR)
    assert code == 1 and "PyCapsule_Import" in said, "no interruption came"


def test_little_is_imported_before_it_can_be_answered() -> None:
    code = "import sys; before = set(sys.modules); import fewshot.cli; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"argparse", "typing", "json", "logging", "torch", "numpy"} & {*found}, found
