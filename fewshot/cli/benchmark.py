"""``fewshot benchmark``: a suite of learners, encoders, datasets, ways and shots, written down in a TOML file."""

from __future__ import annotations

import argparse
import sys

from fewshot.cli.options import add_device, check_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot benchmark digits --out digits/\n"
        "  fewshot benchmark mine.toml --out mine/ --engine 4\n"
        "  fewshot list suites\n\n"
        "The same command resumes: finished cells and embeddings are kept, what failed is tried again."
    )
    parser.add_argument("suite", metavar="SUITE", help="a TOML file, or the name of a suite (fewshot list suites)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for results, tables and failures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="datasets of the suite (default: all)")
    parser.add_argument("--root", metavar="DIR", help="where datasets lie (default: $EPISODES_DATA or data)")
    parser.add_argument("--download", action="store_true", help="fetch datasets that are not there, where possible")
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")
    parser.add_argument("--engine", metavar="SPEC", help='where cells run: a number of processes, or "ray(workers=4)"')
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Run the suite and print its table; exit code 1 if something failed."""
    from fewshot.suites import run_suite

    check_folder(options.out)
    engine = int(options.engine) if options.engine and options.engine.isdigit() else options.engine
    finished = run_suite(
        options.suite, options.out, only=options.only, root=options.root, download=options.download,
        cache=options.cache, engine=engine, device=options.device, progress=not options.quiet,
    )  # fmt: skip
    print(finished.to_markdown(), end="")
    if not options.quiet:
        print(f"results, tables and failures are in {options.out}", file=sys.stderr)
    return 1 if finished.failures else 0
