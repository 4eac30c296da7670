"""``fewshot compare``: differences between learners, with intervals and p-values."""

from __future__ import annotations

import argparse
import json

from fewshot.cli.options import load_results, terminal_width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = "example:\n  fewshot compare runs.jsonl --reference prototypes"
    parser.add_argument("files", nargs="+", metavar="FILE", help="results written by fewshot evaluate --out")
    parser.add_argument("--reference", metavar="LEARNER", help="compare all with this learner; else all pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object per comparison")


def run(options: argparse.Namespace) -> int:
    """Compare and print, task by task."""
    from episodes.comparison import compare_all
    from episodes.naming import task_names
    from episodes.printable import printable
    from episodes.report import to_text

    results = load_results(options.files)
    if not options.json:
        print(to_text(results, terminal_width()))
    evaluations = results.evaluations()
    names = task_names([paired.cells[0] for paired in evaluations], always_dataset=True)
    for paired, task in zip(evaluations, names, strict=True):
        comparisons = compare_all(paired, reference=options.reference)
        if options.json:
            for comparison in comparisons:
                print(json.dumps(comparison.to_json()))
            continue
        first = paired.cells[0]
        measured = "" if first.metric.name == "accuracy" else f", {printable(first.metric.heading)}"
        print(f"\n{task}{measured}:")
        print("\n".join(_aligned([str(one) for one in comparisons], terminal_width())) or "  only one learner here")
    return 0


def _aligned(sentences: list[str], width: int) -> list[str]:
    """Comparisons below each other, ``a - b = ...``; in two lines each where they are wider than the terminal."""
    parts = [sentence.partition(" = ") for sentence in sentences]
    longest = max((len(names) for names, *_ in parts), default=0)
    lines = [f"  {names:{longest}}{equals}{found}" for names, equals, found in parts]
    if max(map(len, lines), default=0) <= width:
        return lines
    return [f"  {names}\n     {equals}{found}" for names, equals, found in parts]
