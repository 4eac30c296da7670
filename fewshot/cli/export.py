"""``fewshot export``: a saved classifier as one ONNX file, which answers without torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fewshot.cli.options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = "example:\n  fewshot export birds/ birds.onnx\n\ndocs/export.md has a reader that needs no torch."
    parser.add_argument("model", metavar="MODEL", help="folder that fewshot fit wrote")
    parser.add_argument("out", metavar="FILE", help="where to write, such as model.onnx")
    parser.add_argument(
        "--inputs", default="auto", choices=("auto", "pixels", "features"), help="what the graph takes (default auto)"
    )
    parser.add_argument("--opset", type=int, default=18, help="version of the operators (default 18)")
    parser.add_argument("--encoder", metavar="SPEC", help="where MODEL names files that lie elsewhere here")
    add_device(parser)
    parser.set_defaults(cache=None, reject=None)


def run(options: argparse.Namespace) -> int:
    """Write the file, after its answers were compared with torch's."""
    from fewshot.cli.predict import load_classifier

    path = load_classifier(Path(options.model), options).export(options.out, inputs=options.inputs, opset=options.opset)
    if not options.quiet:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MB, opset {options.opset}", file=sys.stderr)
    return 0
