"""``fewshot app``: a few pictures per class, or names, into a classifier, in a browser."""

from __future__ import annotations

import argparse
import sys

from fewshot.cli.options import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot app\n"
        "  fewshot app --encoder timm:mobilenetv2_100 --port 7861\n\n"
        "The page is served to this machine alone, and asks nothing of the network. End it with Ctrl-C."
    )
    parser.add_argument(
        "--encoder", default="fewshot:tiny-clip", metavar="SPEC",
        help="what turns pictures into features (default fewshot:tiny-clip, which comes along, for drawn scenes)",
    )  # fmt: skip
    parser.add_argument(
        "--learner", default="l2 | logistic", metavar="SPEC", help="of examples (default l2 | logistic)"
    )
    parser.add_argument("--port", type=int, default=7860, help="of the page (default 7860; 0: any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    from fewshot.app.page import serve
    from fewshot.app.session import Session

    session = Session(options.encoder, options.learner, cache=options.cache, device=options.device)
    serve(
        session, port=options.port, browser=not options.no_browser,
        ready=lambda place: print(f"{place} (end it with Ctrl-C)", file=sys.stderr, flush=True),
    )  # fmt: skip
    return 0
