"""What ``fewshot train`` shows while it trains, and options that do not go together."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)


def reporter(options: argparse.Namespace, unit: str) -> Callable[[dict[str, Any]], None]:
    """A callback that shows each report.

    Args:
        options: of the command.
        unit: what a batch is of.
    """

    def show(report: dict[str, Any]) -> None:
        if options.json:
            print(json.dumps(report), flush=True)
        elif not options.quiet:
            extra = f", validation {100 * report['validation']:.1f} %" if "validation" in report else ""
            speed = f"{report[f'{unit}_per_second']:.0f} {unit}/s"
            head = f"step {report['step']:>6}  loss {report['loss']:.4f}  accuracy {100 * report['accuracy']:.1f} %"
            print(f"{head}{extra}  {speed}", flush=True)

    return show


def show_epoch(report: dict[str, Any], accuracy: str = "accuracy") -> None:
    """A line on stderr for an epoch of `fine_tune` or `adapt_to`.

    Args:
        report: of the epoch.
        accuracy: what its ``accuracy`` is called, which without labels is something else.
    """
    wanted = {"epoch": "epoch", "step": "step", "loss": "loss", "accuracy": accuracy, "validation": "validation"}
    shown = [f"{word} {report[name]:.4g}" for name, word in wanted.items() if isinstance(report.get(name), int | float)]
    print("  ".join(shown), file=sys.stderr)


def refuse_given(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Refuse options that would do nothing.

    Raises:
        ValueError: one was given.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) not in (None, [])]
    if given:
        raise ValueError(f"{', '.join(given)} cannot go with {why}.")


def given_or(given: Number | None, default: Number) -> Number:
    """What was given, else the default."""
    return default if given is None else given


def required_encoder(options: argparse.Namespace) -> str:
    """The encoder whose network trains.

    Raises:
        ValueError: none was given.
    """
    if options.encoder is None:
        raise ValueError(
            'give --encoder, the network that trains: "net:conv4(item_shape=(1, 28, 28))" (with --strategy scratch for '
            "tasks), or another of `fewshot list encoders`."
        )
    return str(options.encoder)
