"""``fewshot adapt``: a tuned encoder for another domain, by unlabelled pictures or texts of it alone."""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from pathlib import Path
from shlex import quote

from fewshot.cli.examples import read_target
from fewshot.cli.options import add_device, add_seed, check_folder
from fewshot.cli.training_reports import show_epoch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot finetune drawings/ --encoder timm:mobilenetv2_100 --strategy full --out tuned/\n"
        "  fewshot adapt tuned/ photos/ --method shot --out adapted/\n"
        "  fewshot evaluate --data folder:other-photos/ --encoder adapted/\n\n"
        "The rows that it was tuned on are not needed; labels of the new ones are not read. Whether adapting gained\n"
        "cannot be known without labels: signs of harm are warned of. Where the rows it was tuned on are at hand,\n"
        "fewshot finetune --target --alignment uses both."
    )
    parser.add_argument("tuned", metavar="TUNED", help="folder that fewshot finetune wrote")
    parser.add_argument("target", nargs="*", metavar="FILE", help="pictures or recordings, or folders of them")
    parser.add_argument("--texts", metavar="FILE", help="a text per line, or a table with a column of texts")
    parser.add_argument("--text-column", metavar="NAME", help="of that table")
    parser.add_argument(
        "--method", default="shot", metavar="M",
        help="shot(pseudo, epochs, lr) trains the whole network, tent(epochs, lr) scales and shifts of batch norms, "
        "adabn renews their statistics alone (default shot)",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="ADAPTED", help="folder of the adapted encoder")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="rows of an update (default 64)")
    add_seed(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Adapt, and save what changed."""
    from episodes.any_source import as_source
    from fewshot.adaptation.adapter import AdaptationWarning
    from fewshot.transfer import adapt_to
    from fewshot.transfer.tuned_folder import before_tuning, save_with_encoder, tuned

    check_folder(options.out)
    folder, out = Path(options.tuned.removeprefix("tuned:")).expanduser(), Path(options.out)
    if out.resolve() == folder.resolve():
        raise ValueError(f"--out {options.out} is the tuned encoder's own folder; give another.")
    before = tuned(str(folder))
    items = read_target(options.target, options.texts, options.text_column, before)
    if items is None:
        raise ValueError("there is no target: give pictures, recordings, a folder of them, or --texts FILE.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdaptationWarning)
        adapted = adapt_to(
            before, as_source(items, before), options.method, batch_size=options.batch_size, out=out / "training",
            device=options.device, seed=options.seed,
            callbacks=[] if options.quiet else [partial(show_epoch, accuracy="mean confidence")],
            progress=not options.quiet,
        )  # fmt: skip
    spec, rows = before_tuning(folder)
    save_with_encoder(adapted, spec, out, rows)
    for one in caught:
        print(f"warning: {one.message}", file=sys.stderr)
    if not options.quiet:
        print(f"saved in {out}; any command takes it: --encoder {quote(str(out))}", file=sys.stderr)
    return 0
