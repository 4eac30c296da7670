"""The verbs of the command line, how the one that is given is run, and what ends it."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from fewshot.cli.allocator import keep_freed_memory
from fewshot.cli.kept import kept
from fewshot.cli.parser import Parser

VERBS = {
    "fit": "a folder of photos, a table of texts or class names into a saved classifier",
    "predict": "ask a saved classifier about new pictures or texts, into a CSV file",
    "app": "teach a classifier with a few pictures or names in a browser, and take it away",
    "export": "a saved classifier as one ONNX file, which answers without torch",
    "finetune": "fine-tune an encoder on labelled pictures or texts, for use as --encoder",
    "adapt": "a tuned encoder for another domain, by unlabelled pictures or texts of it alone",
    "evaluate": "evaluate learners on N-way K-shot episodes and print a table with intervals",
    "benchmark": "a suite of learners, encoders and datasets from a TOML file, resumable, into tables",
    "classify": "images or texts into classes named in words, with or without a task description",
    "advise": "which encoder, how much of it to train, or not to transfer at all: evidence within minutes",
    "compare": "paired comparison of the results in files",
    "report": "results as HTML page, CSV, LaTeX or plot",
    "inspect": "what each stage of a network makes of data, before and after fine-tuning",
    "embed": "fill the embedding cache ahead of time",
    "cache": "list, check and prune the embedding cache",
    "train": "a learner by episodes, one network for several tasks, an encoder without labels; it resumes",
    "list": "names of learners, encoders, datasets, transforms, strategies and all else, with their arguments",
    "doctor": "what is installed, which device, where the cache is, and whether it all works",
}

_EPILOG = """examples:
  fewshot evaluate --data digits --learner prototypes "ridge(alpha=0.1)" --shot 1 5 --out runs.jsonl
  fewshot compare runs.jsonl
  fewshot fit photos/ --out birds/ && fewshot predict birds/ new/ --csv answers.csv
  fewshot classify photos/*.jpg --classes "barn owl" "tawny owl" --task "night pictures of owls"
  fewshot list learners
"""
# Raised on purpose, with a message for users; any other error is shown with its type.
_EXPECTED = (ValueError, ImportError, OSError, RuntimeError, LookupError, FloatingPointError)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = arguments is None  # the process is the command's
    if own:
        keep_freed_memory(next((word for word in given if not word.startswith("-")), None))
    debug = "--debug" in given or os.environ.get("FEWSHOT_DEBUG", "") not in ("", "0")
    options, since, interruptions = None, time.time(), _noted_interruptions() if own else []
    try:
        options = _read(given)
        return 2 if options is None else int(options.run(options))
    except KeyboardInterrupt:
        return _interrupted(options, since, own)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if interruptions:  # C code turns one into an error of its own: numpy's import into an ImportError
            return _interrupted(options, since, own)
        if debug:
            raise
        if isinstance(error, ImportError):
            from fewshot.foreign import explain

            error = explain(error)
        print(f"fewshot: error: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def _noted_interruptions() -> list[int]:
    """A list that each interruption from the keyboard is added to, before it is raised as ever."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background
        signal.signal(signal.SIGINT, note)
    return noted


def _interrupted(options: argparse.Namespace | None, since: float, own: bool) -> int:
    """Say what was kept; returns the exit code."""
    if own:  # a second one ends at once what takes its time to end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    print(f"\nfewshot: interrupted; {kept(options, since)}", file=sys.stderr)
    return 130


def _read(given: list[str]) -> argparse.Namespace | None:
    """The options of a command, with logging as they want it; None where no verb is given, which shows the help."""
    if given[:1] == ["help"]:
        given = [*given[1:2], "--help"]
    elif given[1:] == ["help"] and not os.path.exists("help"):
        given = [given[0], "--help"]
    # Only the chosen verb's module is imported, so that `fewshot --help` stays fast.
    verb = next((word for word in given if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS and verb == given[0]:
        close = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        _parser(None).error(f"unknown command {verb!r}; {hint}Known: {', '.join(VERBS)}")
    parser = _parser(verb)
    options, rest = parser.parse_known_args(given)
    getattr(options, "parser", parser).refuse_rest(rest, given)
    if options.verb is None:
        parser.print_help()
        return None
    level = logging.ERROR if options.quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("fewshot", "episodes"):
        logging.getLogger(name).setLevel(level)
    return options


def _one_line(error: Exception) -> str:
    """The error as one line: control characters spelled out, and a hint where this package is to blame."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.split())
    bare = isinstance(error, (KeyError, IndexError)) and " " not in text  # a missing key, not a message
    if isinstance(error, _EXPECTED) and text and not bare:
        return text
    if isinstance(error, MemoryError):
        return f"there is not enough memory. {text}".rstrip()
    hint = "Run the command again with --debug (or FEWSHOT_DEBUG=1) to see where it happened."
    return f"{type(error).__name__}: {text.rstrip('.') or 'no message'}. {hint}"


def _parser(verb: str | None) -> Parser:
    parser = Parser(
        prog="fewshot", description="Few-shot and zero-shot learning: evaluate, compare, embed, classify.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"fewshot {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, summary in VERBS.items():
        sub = verbs.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.add_argument("--quiet", action="store_true", help="no progress bar, no notes on standard error")
        sub.add_argument("--debug", action="store_true", help="show the full traceback of an error")
        if name == verb:
            # A module called `list` would replace the built-in in this package's namespace.
            module = import_module(f"fewshot.cli.{'listing' if name == 'list' else name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run, parser=sub)
    return parser


def _version() -> str:
    from fewshot import __version__

    return __version__
