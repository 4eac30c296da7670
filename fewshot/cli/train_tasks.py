"""``fewshot train --task name=DATA --task other=DATA``: one network for several tasks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from fewshot.cli.training_reports import given_or, refuse_given, reporter, required_encoder

_UNUSED = (
    "data", "unlabelled", "learner", "way", "shot", "query", "steps", "weights", "accumulate", "every", "method",
)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Train on all tasks, and save network and heads."""
    from fewshot.multi_task import train_tasks

    refuse_given(options, _UNUSED, "--task")
    out, encoder = Path(options.out), required_encoder(options)
    held_out = None if options.validation is None else dict(_named(options.validation, "--validation", options))
    trained = train_tasks(
        encoder, _named(options.task, "--task", options), options.strategy or "full",
        sampling=options.sampling or "proportional", weighting=options.weighting or "equal", epochs=options.epochs,
        batch_size=given_or(options.batch, 64), lr=options.lr, optimizer=options.optimizer or "adamw",
        schedule=options.schedule, clip=options.clip, augment=options.augment, validation=held_out,
        patience=options.patience, out=out / "training", device=options.device, precision=options.precision,
        seed=options.seed, callbacks=[reporter(options, "rows")], progress=not options.quiet,
    )  # fmt: skip
    trained.save(out)
    if not options.quiet:
        print(
            f"saved in {out}; any command takes the network: --encoder {quote(str(out))}; the heads: "
            f"fewshot.load_tasks({str(out)!r})",
            file=sys.stderr,
        )
    return 0


def _named(given: Sequence[str], option: str, options: argparse.Namespace) -> list[tuple[str, Any]]:
    """Rows by name, from ``name=DATA``."""
    from episodes import load_dataset

    found = []
    for text in given:
        name, equals, spec = text.partition("=")
        if not equals or not name.strip() or not spec or "(" in name or ":" in name:
            raise ValueError(f"{option} {text!r}; write {option} NAME=DATA, such as {option} digits=digits:images.")
        found.append((name.strip(), load_dataset(spec, **({"root": options.root} if options.root else {}))))
    return found
