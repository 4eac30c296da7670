"""Options that say how `fine_tune` trains, for every verb that does; one line each."""

from __future__ import annotations

import argparse
from typing import Any

# Named as the arguments of `fine_tune`, with its defaults where they are not given.
_OPTIONS: dict[str, tuple[Any, str, str]] = {
    "epochs": (int, "N", "passes over the rows (default: 10,000 rows in all, 5 to 50 passes)"),
    "batch_size": (int, "N", "rows of an update (default 32)"),
    "lr": (float, "R", "learning rate of the network (default: the strategy's own)"),
    "head_lr": (float, "R", "learning rate of the head (default: the strategy's own)"),
    "layer_decay": (float, "F", "factor on the rate from stage to stage towards the input (default 1)"),
    "weight_decay": (float, "D", "of matrices and filters (default 0.0001)"),
    "l2_sp": (float, "ALPHA", "pull of the weights to where they began, in place of --weight-decay; the pull of the "
                              "head to zero may follow (default 0.01)"),
    "label_smoothing": (float, "S", "share of the target that is spread over all classes (default 0)"),
    "mixup": (float, "A", "mix pairs of rows by shares from Beta(A, A) (default 0: none)"),
    "augment": (str, "SPEC", 'change pictures at random: "flip | crop(0.8) | color(0.2)"'),
    "views": (int, "V", "with --augment: V views of each picture, in turn, whose frozen part is computed once "
                        "(default 0: anew in every epoch)"),
    "swa": (float, "SHARE", "average the weights over this share of the epochs, the last ones"),
    "wise": (float, "A", "share of the new weights in the mean of those before and after (default 1)"),
    "head": (str, "H", "how the head begins: prototypes (default), ridge or zero"),
    "batch_norm": (str, "B", "trained batch norms use running statistics (frozen), those of the batch (train), or "
                             "what the number of rows allows (auto, the default)"),
    "optimizer": (str, "O", "adamw (default), adam or sgd"),
    "schedule": (str, "S", "of the rates: cosine (default), linear or constant"),
    "warm_up": (float, "SHARE", "of the updates over which the rates rise (default 0.1)"),
    "clip": (float, "NORM", "longest gradient (default: any)"),
    "precision": (str, "P", "of the forward pass: float32 (default), bfloat16, float16, or auto: bfloat16 where it is "
                       "known to be faster"),
}  # fmt: skip


def add_tuning(parser: argparse.ArgumentParser, title: str) -> None:
    """Options of `fine_tune`, as a group of the help."""
    group = parser.add_argument_group(title)
    for name, (kind, metavar, text) in _OPTIONS.items():
        several: dict[str, Any] = {"nargs": "+"} if name == "l2_sp" else {}
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text, **several)


def tuning_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, as `fine_tune` takes them.

    Raises:
        ValueError: more than two numbers for ``--l2-sp``.
    """
    given = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    pulls = given.get("l2_sp")
    if pulls is not None:
        if len(pulls) > 2:
            raise ValueError(f"--l2-sp takes one number or two, and was given {len(pulls)}.")
        given["l2_sp"] = pulls[0] if len(pulls) == 1 else tuple(pulls)
    return given
