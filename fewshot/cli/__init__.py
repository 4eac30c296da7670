"""The `fewshot` command: one file per verb, each imported only when it is the one that runs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `episodes`
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        from fewshot.cli.command import run_command
    except KeyboardInterrupt:
        print("\nfewshot: interrupted; nothing was kept.", file=sys.stderr)
        return 130
    return run_command(arguments)
