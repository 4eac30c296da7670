"""``fewshot train``: meta-train a learner with weights."""

from __future__ import annotations

import argparse
import json
import sys

from fewshot.cli.options import add_device, add_seed

_LEARNER, _BEHIND = "conv4 | prototypes", "prototypes(distance='cosine', scale=10.0)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n"
        '  fewshot train --data omniglot:train --validation omniglot:val --learner "conv4 | prototypes" '
        "--way 20 --shot 5 --steps 10000 --out runs/protonet\n\n"
        "With --epochs it learns all classes at once; --weights continues from there by episodes.\n"
        "Photographs and a pretrained network: --data 'folder:photos(size=224)' --encoder timm:resnet18 --lr 1e-5.\n"
        "Interrupted, the same command resumes; finished, it continues with more --steps if --schedule is constant.\n"
        "`fewshot evaluate --weights` scores the result."
    )
    parser.add_argument("--data", required=True, metavar="SPEC", help="rows to train on (fewshot list datasets)")
    parser.add_argument("--validation", metavar="SPEC", help="rows of other classes, which choose the best weights")
    parser.add_argument("--root", metavar="DIR", help="where the datasets lie on disk")
    parser.add_argument("--learner", metavar="SPEC", help="a learner with weights (default conv4 | prototypes)")
    parser.add_argument(
        "--encoder", metavar="SPEC",
        help="go on training the network of an encoder, which stands in front of --learner (default then: prototypes "
        "of cosines); the result is the encoder trained:OUT. Give a low --lr, such as 1e-5 to 1e-4",
    )  # fmt: skip
    parser.add_argument("--way", type=int, help="classes per episode (default 5)")
    parser.add_argument("--shot", type=int, help="support rows per class (default 1)")
    parser.add_argument("--query", type=int, help="query rows per class (default 15)")
    parser.add_argument("--steps", type=int, help="updates of the weights (default 10000)")
    parser.add_argument(
        "--epochs", type=int,
        help="plain classification of all classes for so many epochs, instead of episodes: a Baseline; "
        "--way, --shot and --query are then of the validation",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="weights to begin with, such as those of a Baseline")
    parser.add_argument(
        "--batch", type=int, help="episodes per forward pass (default 4), or rows with --epochs (default 64)"
    )
    parser.add_argument("--accumulate", type=int, help="forward passes per update (default 1)")
    parser.add_argument("--optimizer", default="adam", choices=("adam", "adamw", "sgd"))
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default 0.001)")
    for old, new in (("--optimiser", "optimizer"), ("--rate", "lr")):  # names of version 0.1
        kind = float if new == "lr" else str
        parser.add_argument(old, dest=new, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--schedule", default="cosine", choices=("constant", "cosine", "linear"),
        help="of the learning rate (default cosine)",
    )  # fmt: skip
    parser.add_argument("--clip", type=float, help="longest gradient")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument(
        "--every", type=int, help="steps between reports and checkpoints (default 200, or one epoch with --epochs)"
    )
    parser.add_argument("--patience", type=int, help="reports without a better validation before it ends")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of weights, state and log")
    parser.add_argument("--json", action="store_true", help="one JSON object per report")
    add_seed(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Train, reporting as it goes."""
    from episodes import EpisodeSampler, load_dataset
    from fewshot import load_learner, meta_train
    from fewshot.meta import load_weights, pretrain

    _refuse_unused(options)
    more = {"root": options.root} if options.root else {}
    source = load_dataset(options.data, **more)
    if (count := len(source.class_names)) < 2:
        raise ValueError(
            f"{options.data} has {'no classes' if not count else 'one class'} to learn from; training needs labelled "
            "rows of at least two (folder: a sub-folder per class; csv: a column of labels). To classify photos of "
            "your own with a network that is trained already: fewshot fit."
        )
    way, shot, query = (
        default if given is None else given
        for given, default in ((options.way, 5), (options.shot, 1), (options.query, 15))
    )
    validation = None
    if options.validation:
        held = load_dataset(options.validation, **more)
        shared = set(held.class_names) & set(source.class_names)
        if shared:
            raise ValueError(f"{options.validation} and {options.data} share classes, such as {sorted(shared)[0]!r}.")
        validation = held, EpisodeSampler(held.labels, way, shot, query, 1, name=held.name)

    def show(report: dict[str, float]) -> None:
        if options.json:
            print(json.dumps(report), flush=True)
        elif not options.quiet:
            extra = f", validation {100 * report['validation']:.1f} %" if "validation" in report else ""
            unit = "rows" if options.epochs else "episodes"
            speed = f"{report[f'{unit}_per_second']:.0f} {unit}/s"
            head = f"step {report['step']:>6}  loss {report['loss']:.4f}  accuracy {100 * report['accuracy']:.1f} %"
            print(f"{head}{extra}  {speed}", flush=True)

    given = options.learner or _LEARNER
    if options.encoder:
        given = f"backbone(encoder={options.encoder!r}) | {options.learner or _BEHIND}"
    learner = load_weights(load_learner(given), options.weights) if options.weights else given
    common = {
        "optimizer": options.optimizer, "lr": options.lr, "schedule": options.schedule, "clip": options.clip,
        "precision": options.precision, "validation": validation, "patience": options.patience, "out": options.out,
        "device": options.device, "callbacks": [show], "progress": not options.quiet,
    }  # fmt: skip
    if options.epochs is not None:
        training = pretrain(
            learner, source, epochs=options.epochs, batch=_or(options.batch, 64), every=options.every,
            seed=options.seed, **common,
        )  # fmt: skip
    else:
        sampler = EpisodeSampler(source.labels, way, shot, query, options.seed, name=source.name)
        training = meta_train(
            learner, source, sampler, steps=_or(options.steps, 10_000), batch=_or(options.batch, 4),
            accumulate=_or(options.accumulate, 1), every=_or(options.every, 200), **common,
        )  # fmt: skip
    if not options.quiet:
        best = (
            ""
            if training.best is None
            else f", best validation {100 * training.best:.1f} % at step {training.best_step}"
        )
        print(f"{training.step} steps{best}; weights are in {options.out}", file=sys.stderr)
    return 0


def _refuse_unused(options: argparse.Namespace) -> None:
    """With ``--epochs`` there are no episodes but those of the validation."""
    if options.epochs is None:
        return
    unused = ["steps", "accumulate", *(() if options.validation else ("way", "shot", "query"))]
    given = [f"--{name}" for name in unused if getattr(options, name) is not None]
    if given:
        hint = "" if options.validation else " (--way, --shot and --query are of the episodes of --validation)"
        raise ValueError(f"{', '.join(given)} cannot go with --epochs, which learns from all classes at once{hint}.")


def _or(given: int | None, default: int) -> int:
    return default if given is None else given
