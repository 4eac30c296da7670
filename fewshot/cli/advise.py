"""``fewshot advise``: which encoder, and how much of it to train, from evidence on one's own rows."""

from __future__ import annotations

import argparse
import json
import logging
import warnings

from fewshot.cli.options import add_device, add_seed, read_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n  fewshot advise folder:photos/ --encoder timm:mobilenetv2_100 torchvision:resnet18 --minutes 5\n\n"
        "Interrupted (Ctrl-C), it prints what is known by then; with --out the same command goes on from there."
    )
    parser.add_argument(
        "data", metavar="DATA", help="a dataset name (fewshot list datasets), folder:PATH, csv:FILE or arrays:FILE"
    )
    parser.add_argument(
        "--encoder", nargs="+", required=True, metavar="SPEC", help="one or more (fewshot list encoders)"
    )
    parser.add_argument(
        "--strategies", nargs="+", metavar="STRATEGY",
        help="of fine_tune, such as last(2) or lora(8), and 'logistic' on frozen features; default: eight of them",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, default=5.0, metavar="M", help="the budget (default 5); 0: scores only"
    )
    parser.add_argument("--like", metavar="DATA", help="rows like those the encoders were trained on, for distances")
    parser.add_argument("--folds", type=int, metavar="F", help="of the cross-validation (default 5)")
    parser.add_argument("--epochs", type=int, metavar="E", help="passes over the rows (default: as fine_tune chooses)")
    parser.add_argument("--root", metavar="DIR", help="where the dataset lies on disk")
    parser.add_argument("--download", action="store_true", help="fetch the dataset if it is not there")
    parser.add_argument("--out", metavar="FILE", help="JSON Lines file of results to add to and resume from")
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="the ranking, comma-separated")
    form.add_argument("--json", action="store_true", help="everything as one JSON object")
    add_seed(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Advise and print."""
    from episodes import load_dataset
    from fewshot.transfer.advising import STRATEGIES, advise
    from fewshot.transfer.verdict import NegativeTransferWarning

    logging.getLogger("fewshot").setLevel(logging.ERROR if options.quiet else logging.WARNING)  # no plan of each trial
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)  # it is in what is printed
        advice = advise(
            read_dataset(options), options.encoder, options.strategies or STRATEGIES, minutes=options.minutes,
            like=None if options.like is None else load_dataset(options.like), folds=options.folds,
            epochs=options.epochs, out=options.out, cache=options.cache, device=options.device, seed=options.seed,
            progress=not options.quiet,
        )  # fmt: skip
    if options.json:
        print(json.dumps(advice.to_dict(), ensure_ascii=False))
    elif options.csv:
        print(advice.to_csv(), end="")
    else:
        print(advice)
    return 130 if advice.interrupted else 0
