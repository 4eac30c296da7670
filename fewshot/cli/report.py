"""``fewshot report``: results as something to publish."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fewshot.cli.options import load_results, terminal_width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = "example:\n  fewshot report runs.jsonl --html report.html --plot accuracy.svg"
    parser.add_argument("files", nargs="+", metavar="FILE", help="results written by fewshot evaluate --out")
    parser.add_argument("--html", metavar="FILE", help="one self-contained page")
    parser.add_argument("--title", default="Few-shot results", help="of the page")
    parser.add_argument(
        "--pictures", nargs="+", metavar="DATA",
        help="the images that were evaluated, to show wrong answers on --html; of several datasets, each",
    )  # fmt: skip
    parser.add_argument(
        "--inspect", nargs="+", metavar=("ENCODER", "TUNED"),
        help="what each stage of an encoder makes of --pictures, as a section of --html; also after fine-tuning",
    )  # fmt: skip
    parser.add_argument("--csv", metavar="FILE", help="one row per cell")
    parser.add_argument("--latex", metavar="FILE", help="a booktabs table")
    parser.add_argument("--plot", metavar="FILE", help="scores against shots, .png or .svg")


def run(options: argparse.Namespace) -> int:
    """Write the requested files; the text table goes to standard output."""
    from episodes.files import write_atomically
    from episodes.report import plot_shots, to_csv, to_html, to_latex, to_text

    results = load_results(options.files)
    if options.pictures and not options.html:
        raise ValueError("--pictures are shown on the page; say where: --html FILE.")
    if options.inspect and not options.pictures:
        raise ValueError("--inspect looks at pictures, on the page; give --pictures DATA and --html FILE.")
    if options.inspect and len(options.pictures) > 1:
        raise ValueError("--inspect looks at one dataset; give one in --pictures.")
    if len(options.inspect or ()) > 2:
        raise ValueError("--inspect takes an encoder, and a folder that `fewshot finetune` wrote from it.")

    def page(held: Any) -> str:
        from episodes import load_dataset

        pictures = [load_dataset(name) for name in options.pictures or ()]
        return to_html(held, options.title, pictures=pictures, sections=_inside(options, pictures))

    for path, make in ((options.html, page), (options.csv, to_csv), (options.latex, to_latex)):
        if path:
            write_atomically(Path(path), make(results).encode())
            _wrote(path, options)
    if options.plot:
        plot_shots(results, options.plot)
        _wrote(options.plot, options)
    print(to_text(results, terminal_width()))
    return 0


def _wrote(path: str, options: argparse.Namespace) -> None:
    if not options.quiet:
        print(f"wrote {path}", file=sys.stderr)


def _inside(options: argparse.Namespace, pictures: Any) -> dict[str, str]:
    """Pages of an inspection by title."""
    if not options.inspect:
        return {}
    from fewshot import inspect, load_encoder, load_tuned

    encoder = load_encoder(options.inspect[0])
    after = load_tuned(options.inspect[1], encoder) if len(options.inspect) == 2 else None
    found = inspect(encoder, pictures[0], after, progress=False)
    return {f"Inside {encoder.name}": found.html()}
