"""``fewshot train``: meta-train a learner with weights, one network on several tasks, or one without labels."""

from __future__ import annotations

import argparse
import sys

from fewshot.cli.options import add_device, add_seed, check_folder
from fewshot.cli.too_few import refuse_too_few
from fewshot.cli.training_reports import given_or, refuse_given, reporter

_OTHERS = ("strategy", "sampling", "weighting", "method", "augment")

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
        "`fewshot evaluate --weights` scores the result.\n\n"
        "  fewshot train --task mnist=folder:mnist/ --task signs=folder:signs/ --strategy scratch "
        '--encoder "net:conv4(item_shape=(1, 28, 28))" --out shared/\n'
        '  fewshot train --unlabelled folder:pictures/ --method barlow-twins --encoder "net:conv4(item_shape=(3, 84, '
        '84))" --out learned/\n\n'
        "With --task or --unlabelled the folder is an encoder afterwards: --encoder shared/"
    )
    _add_rows(parser)
    _add_network(parser)
    _add_episodes(parser)
    _add_updates(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of weights, state and log")
    parser.add_argument("--json", action="store_true", help="one JSON object per report")
    add_seed(parser)
    add_device(parser)


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="SPEC", help="rows to train on (fewshot list datasets)")
    parser.add_argument(
        "--task", action="append", metavar="NAME=SPEC",
        help="instead of --data, given twice or more: one network for several tasks, with a head for each",
    )  # fmt: skip
    parser.add_argument(
        "--unlabelled", metavar="SPEC", help="instead of --data: pictures to learn from without their labels"
    )
    parser.add_argument(
        "--validation", action="append", metavar="SPEC",
        help="rows of other classes, which choose the best weights; with --task, NAME=SPEC: other rows of a task",
    )  # fmt: skip
    parser.add_argument("--root", metavar="DIR", help="where the datasets lie on disk")


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder", metavar="SPEC",
        help="with --task or --unlabelled: whose network trains; with --data: it goes on training, before --learner "
        "(default then: prototypes of cosines), and the result is the encoder trained:OUT. Give a low --lr, such as "
        "1e-5 to 1e-4",
    )  # fmt: skip
    parser.add_argument("--strategy", metavar="S", help="with --task: what of it trains (default full)")
    parser.add_argument(
        "--sampling", metavar="S",
        help="with --task: proportional, temperature(T), annealed(drop) or uniform (default proportional)",
    )  # fmt: skip
    parser.add_argument(
        "--weighting", metavar="W", help="with --task: equal, uncertainty, gradnorm or pcgrad (default equal)"
    )
    parser.add_argument(
        "--method", metavar="M",
        help="with --unlabelled: simsiam, barlow-twins, rotation or pca(k) (default barlow-twins)",
    )  # fmt: skip
    parser.add_argument(
        "--augment", metavar="A", help='with --task or --unlabelled: changes of pictures, such as "crop(0.4) | flip"'
    )
    parser.add_argument("--learner", metavar="SPEC", help='a learner with weights (default "conv4 | prototypes")')
    parser.add_argument("--weights", metavar="FILE", help="weights to begin with, such as those of a Baseline")


def _add_episodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--way", type=int, help="classes per episode (default 5)")
    parser.add_argument("--shot", type=int, help="support rows per class (default 1)")
    parser.add_argument("--query", type=int, help="query rows per class (default 15)")
    parser.add_argument("--steps", type=int, help="updates of the weights (default 10000)")
    parser.add_argument(
        "--epochs", type=int,
        help="plain classification of all classes for so many epochs, instead of episodes: a Baseline; "
        "--way, --shot and --query are then of the validation",
    )  # fmt: skip
    parser.add_argument(
        "--batch",
        type=int,
        help="episodes per forward pass (default 4), or rows: 64 with --epochs or --task, 128 with --unlabelled",
    )
    parser.add_argument("--accumulate", type=int, help="forward passes per update (default 1)")


def _add_updates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--optimizer", choices=("adam", "adamw", "sgd"), help="(default adam; adamw with --task)")
    parser.add_argument("--lr", type=float, help="learning rate (default 0.001; with --task the strategy's own)")
    for old, new in (("--optimiser", "optimizer"), ("--rate", "lr")):  # names of version 0.1
        kind = float if new == "lr" else str
        parser.add_argument(old, dest=new, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--schedule", default="cosine", choices=("constant", "cosine", "linear"),
        help="of the learning rate (default cosine)",
    )  # fmt: skip
    parser.add_argument("--clip", type=float, help="longest gradient")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="of the forward pass (default float32; auto: bfloat16 where it is known to be faster)",
    )
    parser.add_argument(
        "--every", type=int, help="steps between reports and checkpoints (default 200, or one epoch with --epochs)"
    )
    parser.add_argument("--patience", type=int, help="reports without a better validation before it ends")


def run(options: argparse.Namespace) -> int:
    """Train, reporting as it goes."""
    from fewshot.transfer.own_folder import refuse_own_folder

    check_folder(options.out)
    refuse_own_folder(options.encoder, options.out)
    if options.data is None and not options.task and options.unlabelled is None:
        raise ValueError("give rows to train on: --data SPEC; --task NAME=SPEC twice or more; or --unlabelled SPEC.")
    if options.task:
        from fewshot.cli import train_tasks

        return train_tasks.run(options)
    if options.unlabelled is not None:
        from fewshot.cli import train_unlabelled

        return train_unlabelled.run(options)
    return _run_learner(options)


def _run_learner(options: argparse.Namespace) -> int:
    from episodes import EpisodeSampler, load_dataset
    from fewshot import load_learner, meta_train
    from fewshot.meta import load_weights, pretrain

    refuse_given(options, _OTHERS, "--data; it is of --task or --unlabelled")
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
    if options.epochs is None:
        advice = "To classify photos of your own with a network that is trained already: fewshot fit."
        refuse_too_few(source, options.data, way, shot, query, advice)
    validation = None
    if options.validation:
        place, *others = options.validation
        if others:
            raise ValueError(f"--validation is given {1 + len(others)} times; only with --task there are several.")
        held = load_dataset(place, **more)
        shared = set(held.class_names) & set(source.class_names)
        if shared:
            raise ValueError(f"{place} and {options.data} share classes, such as {sorted(shared)[0]!r}.")
        validation = held, EpisodeSampler(held.labels, way, shot, query, 1, name=held.name)

    if source.kind == "features" and not options.learner:
        shape = tuple(source[[0]].shape[1:])
        raise ValueError(
            f"the rows of {options.data!r} are features {list(shape)}, and the default {_LEARNER!r} learns from "
            f'images; give another, such as --learner "mlp(item_shape={shape}) | prototypes".'
        )
    given = options.learner or _LEARNER
    if options.encoder:
        given = f"backbone(encoder={options.encoder!r}) | {options.learner or _BEHIND}"
    learner = load_weights(load_learner(given), options.weights) if options.weights else given
    common = {
        "optimizer": options.optimizer or "adam", "lr": given_or(options.lr, 1e-3), "schedule": options.schedule,
        "clip": options.clip,
        "precision": options.precision, "validation": validation, "patience": options.patience, "out": options.out,
        "device": options.device, "callbacks": [reporter(options, "episodes" if options.epochs is None else "rows")],
        "progress": not options.quiet,
    }  # fmt: skip
    if options.epochs is not None:
        training = pretrain(
            learner, source, epochs=options.epochs, batch=given_or(options.batch, 64), every=options.every,
            seed=options.seed, **common,
        )  # fmt: skip
    else:
        sampler = EpisodeSampler(source.labels, way, shot, query, options.seed, name=source.name)
        training = meta_train(
            learner, source, sampler, steps=given_or(options.steps, 10_000), batch=given_or(options.batch, 4),
            accumulate=given_or(options.accumulate, 1), every=given_or(options.every, 200), **common,
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
