"""``fewshot train``: meta-train a learner with weights."""

from __future__ import annotations

import argparse
import json
import sys

from fewshot.cli.options import add_device, add_seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n"
        '  fewshot train --data omniglot:train --validation omniglot:val --learner "conv4 | prototypes" '
        "--way 20 --shot 5 --steps 10000 --out runs/protonet\n\n"
        "With --epochs it learns all classes at once; --weights goes on from there by episodes.\n"
        "Interrupted, the same command goes on where it was. `fewshot evaluate --weights` marks what came of it."
    )
    parser.add_argument("--data", required=True, metavar="SPEC", help="rows to train on (fewshot list datasets)")
    parser.add_argument("--validation", metavar="SPEC", help="rows of other classes, which choose the best weights")
    parser.add_argument("--root", metavar="DIR", help="where the datasets lie on disk")
    parser.add_argument("--learner", default="conv4 | prototypes", metavar="SPEC", help="a learner with weights")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--query", type=int, default=15)
    parser.add_argument("--steps", type=int, default=10_000, help="updates of the weights (default 10000)")
    parser.add_argument(
        "--epochs", type=int,
        help="plain classification of all classes for so many epochs, instead of episodes: a Baseline",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="weights to begin with, such as those of a Baseline")
    parser.add_argument(
        "--batch", type=int, help="episodes per forward pass (default 4), or rows with --epochs (default 64)"
    )
    parser.add_argument("--accumulate", type=int, default=1, help="forward passes per update (default 1)")
    parser.add_argument("--optimiser", default="adam", choices=("adam", "adamw", "sgd"))
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--schedule", default="cosine", choices=("constant", "cosine", "linear"))
    parser.add_argument("--clip", type=float, help="longest gradient")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--every", type=int, default=200, help="steps between reports and checkpoints (default 200)")
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

    more = {"root": options.root} if options.root else {}
    source = load_dataset(options.data, **more)
    sampler = EpisodeSampler(source.labels, options.way, options.shot, options.query, options.seed, name=source.name)
    validation = None
    if options.validation:
        held = load_dataset(options.validation, **more)
        shared = set(held.class_names) & set(source.class_names)
        if shared:
            raise ValueError(f"{options.validation} and {options.data} share classes, such as {sorted(shared)[0]!r}.")
        validation = held, EpisodeSampler(held.labels, options.way, options.shot, options.query, 1, name=held.name)

    def show(report: dict[str, float]) -> None:
        if options.json:
            print(json.dumps(report), flush=True)
        elif not options.quiet:
            extra = f", validation {100 * report['validation']:.1f} %" if "validation" in report else ""
            unit = "rows" if options.epochs else "episodes"
            speed = f"{report[f'{unit}_per_second']:.0f} {unit}/s"
            head = f"step {report['step']:>6}  loss {report['loss']:.4f}  accuracy {100 * report['accuracy']:.1f} %"
            print(f"{head}{extra}  {speed}", flush=True)

    learner = load_weights(load_learner(options.learner), options.weights) if options.weights else options.learner
    common = {
        "optimiser": options.optimiser, "rate": options.rate, "schedule": options.schedule, "clip": options.clip,
        "precision": options.precision, "validation": validation, "patience": options.patience, "out": options.out,
        "device": options.device, "callbacks": [show], "progress": not options.quiet,
    }  # fmt: skip
    if options.epochs:
        training = pretrain(learner, source, epochs=options.epochs, batch=options.batch or 64, **common)
    else:
        training = meta_train(
            learner, source, sampler, steps=options.steps, batch=options.batch or 4, accumulate=options.accumulate,
            every=options.every, **common,
        )  # fmt: skip
    if not options.quiet:
        best = (
            ""
            if training.best is None
            else f", best validation {100 * training.best:.1f} % at step {training.best_step}"
        )
        print(f"{training.step} steps{best}; weights are in {options.out}", file=sys.stderr)
    return 0
