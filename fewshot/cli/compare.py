"""``fewshot compare``: who is better, by how much, and is it chance."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = "example:\n  fewshot compare runs.jsonl --reference prototypes"
    parser.add_argument("files", nargs="+", metavar="FILE", help="results written by fewshot evaluate --out")
    parser.add_argument("--reference", metavar="LEARNER", help="compare all with this learner; else all pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object per comparison")


def run(options: argparse.Namespace) -> int:
    """Compare and print, exam by exam."""
    from episodes import Results
    from episodes.comparison import compare_all

    results = Results.load(*options.files)
    if not options.json:
        print(results)
    for exam in results.exams():
        comparisons = compare_all(exam, reference=options.reference)
        if options.json:
            for comparison in comparisons:
                print(json.dumps(dataclasses.asdict(comparison), default=str, ensure_ascii=False))
            continue
        cell = exam.cells[0]
        print(f"\n{cell.dataset}, {cell.way}-way {cell.shot}-shot:")
        print("\n".join(f"  {comparison}" for comparison in comparisons) or "  only one learner here")
    return 0
