"""``fewshot finetune``: train some of an encoder on labelled pictures or texts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from fewshot.cli.examples import Examples, content_digest, read_examples, read_target, readable, takes
from fewshot.cli.options import add_cache, add_columns, add_device, add_seed, add_skipping, check_folder
from fewshot.cli.training_reports import show_epoch
from fewshot.cli.tuning_options import add_tuning, tuning_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        '  fewshot finetune photos/ --encoder timm:mobilenetv2_100 --strategy "last(1)" --out tuned/\n'
        '  fewshot finetune photos/ --encoder timm:mobilenetv2_100 --augment "flip | crop" --views 8 --out tuned/\n'
        "  fewshot evaluate --data folder:other-photos/ --encoder tuned/\n"
        "  fewshot finetune drawings/ --encoder E --strategy full --target photos/ --alignment dann --out tuned/\n\n"
        "What trains is shown before it starts. Interrupted, the same command resumes after the last whole epoch.\n"
        "A classifier with an estimate of its accuracy: fewshot fit --strategy."
    )
    parser.add_argument("data", metavar="DATA", help="folder with a sub-folder per class, or a table")
    parser.add_argument("--encoder", required=True, metavar="SPEC", help="what to begin with (fewshot list encoders)")
    parser.add_argument(
        "--strategy", default="last(1)", metavar="S",
        help="what trains: linear-probe, last(k), full, norm, bias, lora(rank), lp-ft, gradual, setfit, prompt, "
        "clip-lora, scratch, or some in "
        'sequence: "linear-probe | last(2)" (default last(1))',
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="TUNED", help="folder of the tuned encoder")
    parser.add_argument(
        "--validation", metavar="DATA", help="labelled rows of the same classes: the best epoch is kept"
    )
    parser.add_argument(
        "--patience", type=int, metavar="N", help="epochs without a better --validation after which a phase ends"
    )
    parser.add_argument(
        "--target", nargs="+", metavar="FILE",
        help="unlabelled pictures or recordings of the domain that it is to serve, or folders of them; needs "
        "--alignment",
    )  # fmt: skip
    parser.add_argument("--target-texts", metavar="FILE", help="the same as texts: one per line, or a table")
    parser.add_argument(
        "--alignment", metavar="A",
        help="how features of both domains are made alike: dann(weight), confusion(weight), deep-coral(weight) or "
        "mmd(weight)",
    )  # fmt: skip
    add_columns(parser)
    add_skipping(parser)
    add_cache(parser)
    add_seed(parser)
    add_device(parser)
    add_tuning(parser, "how it trains")


def run(options: argparse.Namespace) -> int:
    """Fine-tune, and save what changed."""
    from episodes.any_source import as_source
    from fewshot.encoders import load_encoder
    from fewshot.transfer import fine_tune
    from fewshot.transfer.own_folder import refuse_own_folder
    from fewshot.transfer.tuned_folder import save_with_encoder

    check_folder(options.out, options.data)
    refuse_own_folder(options.encoder, options.out)
    out = Path(options.out)
    encoder = load_encoder(options.encoder)
    examples = _examples(options.data, options, encoder)
    held_out = None if options.validation is None else _examples(options.validation, options, encoder)
    target = read_target(options.target or [], options.target_texts, options.text_column, encoder)
    tuned = fine_tune(
        encoder, _rows(examples, encoder), options.strategy, **tuning_arguments(options),
        validation=None if held_out is None else _rows(held_out, encoder), patience=options.patience,
        target=None if target is None else as_source(target, encoder), alignment=options.alignment,
        out=out / "training", cache=options.cache, device=options.device, seed=options.seed,
        callbacks=[] if options.quiet else [show_epoch], progress=not options.quiet,
    )  # fmt: skip
    save_with_encoder(tuned, options.encoder, out, map(content_digest, examples.items))
    if not options.quiet:
        print(f"saved in {out}; any command takes it: --encoder {quote(str(out))}", file=sys.stderr)
    return 0


def _examples(place: str, options: argparse.Namespace, encoder: Any) -> Examples:
    examples = read_examples(place, options.path_column, options.text_column, options.label_column)
    if not takes(encoder, examples.kind):
        raise ValueError(f"{place!r} holds {examples.kind}, which {encoder.name!r} does not encode.")
    if options.skip_damaged:
        return readable(examples, encoder, options.cache, options.device, quiet=options.quiet)
    return examples


def _rows(examples: Examples, encoder: Any) -> Any:
    from episodes.any_source import as_source

    names = sorted(set(examples.labels), key=lambda label: (isinstance(label, str), label))
    if len(names) < 2:
        raise ValueError(
            f"there is one class, {names[0]!r}; fine-tuning needs at least two (a sub-folder per class, or two labels "
            "in the table)."
        )
    numbers = [names.index(label) for label in examples.labels]
    return as_source(examples.items, encoder, numbers, [str(name) for name in names])
