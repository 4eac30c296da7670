"""``fewshot list``: what there is to choose from."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fewshot.cli.options import terminal_width

_NARROW = 30  # letters beside the names; where there are fewer, lines are left to the terminal
_REGISTRIES = {
    "learners": "fewshot.learners:LEARNERS",
    "encoders": "fewshot.encoders:ENCODERS",
    "datasets": "episodes.datasets:DATASETS",
    "samplers": "episodes.samplers:SAMPLERS",
    "transforms": "fewshot.transforms:TRANSFORMS",
    "nets": "fewshot.nets:NETS",
    "strategies": "fewshot.transfer.strategies:STRATEGIES",
    "alignments": "fewshot.transfer.alignment:ALIGNMENTS",
    "source-free": "fewshot.transfer.source_free:METHODS",
    "augmentations": "fewshot.augmentation.loading:OPERATIONS",
    "engines": "fewshot.engines:ENGINES",
}
KINDS = (*_REGISTRIES, "splits", "suites")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n  fewshot list learners\n  fewshot list learners ridge   # its arguments, and what they mean"
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, help="one kind; all by default")
    parser.add_argument("name", nargs="*", help="of that kind: its arguments and its description")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--markdown", action="store_true", help="learners as a table with their sources")


def run(options: argparse.Namespace) -> int:
    """Print names with what each one is."""
    if options.markdown:
        from fewshot.cli.learner_table import learner_table

        if options.kind != "learners":
            raise ValueError("--markdown is a table of learners; write: fewshot list learners --markdown")
        print(learner_table(), end="")
        return 0
    if options.name:
        print("\n\n".join(_one(options.kind, name) for name in options.name))
        return 0
    found = {kind: _entries(kind) for kind in ([options.kind] if options.kind else KINDS)}
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for number, (kind, entries) in enumerate(found.items()):
        if len(found) > 1:
            print(("\n" if number else "") + kind)
        width = max((len(name) for name in entries), default=0)
        for name, summary in entries.items():
            print(_folded(f"  {name:<{width}}  {summary}".rstrip(), width + 4))
    if options.kind in _REGISTRIES and not options.quiet:
        print(f"arguments of one: fewshot list {options.kind} {next(iter(found[options.kind]))}", file=sys.stderr)
    return 0


def _folded(line: str, indent: int) -> str:
    """A line as several in a terminal; for a file or another program as it is, so that each line is an entry."""
    if not sys.stdout.isatty() or terminal_width() < indent + _NARROW:
        return line
    return textwrap.fill(line, terminal_width(), subsequent_indent=" " * indent, break_long_words=False)


def _entries(kind: str) -> dict[str, str]:
    names, get = _source(kind)
    return {name: _summary(get(name)) + _also(kind, name) for name in names}


def _one(kind: str, name: str) -> str:
    """All that is known of one: how it is written, with its arguments and their defaults, and its description."""
    import inspect

    if kind == "learners":
        from fewshot.learners import ALIASES

        name = ALIASES.get(name, name)
    thing = _source(kind)[1](name)
    if isinstance(thing, str):
        return f"{name}: {thing}"
    words = inspect.signature(thing).parameters.values()
    written = [
        str(word.replace(annotation=inspect.Parameter.empty)) for word in words if word.kind is not word.VAR_KEYWORD
    ]
    described = (inspect.getdoc(thing) or "").rstrip()
    return f"{name}({', '.join(written)}){_also(kind, name)}\n\n{described}"


def _also(kind: str, name: str) -> str:
    """Other names that are understood for a learner."""
    if kind != "learners":
        return ""
    from fewshot.learners import ALIASES

    others = sorted(alias for alias, meant in ALIASES.items() if meant == name)
    return f" (also: {', '.join(others)})" if others else ""


def _source(kind: str) -> tuple[list[str], Callable[[str], Any]]:
    if kind in _REGISTRIES:
        module, _, attribute = _REGISTRIES[kind].partition(":")
        registry = getattr(import_module(module), attribute)
        return registry.names(), registry.get
    if kind == "suites":
        from fewshot.suites import list_suites, load_suite

        return list_suites(), lambda name: load_suite(name).title
    from episodes.splits import list_splits, load_split

    return list_splits(), lambda name: ", ".join(f"{len(classes)} {part}" for part, classes in load_split(name).items())


def _summary(thing: Any) -> str:
    text = thing if isinstance(thing, str) else (getattr(thing, "__doc__", None) or "")
    return text.strip().split("\n\n")[0].replace("\n", " ").strip()
