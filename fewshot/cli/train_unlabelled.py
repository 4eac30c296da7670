"""``fewshot train --unlabelled DATA``: an encoder from pictures without labels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from fewshot.cli.training_reports import given_or, refuse_given, reporter, required_encoder

_UNUSED = (
    "data", "learner", "way", "shot", "query", "steps", "weights", "accumulate", "strategy", "sampling", "weighting",
    "validation", "patience",
)  # fmt: skip
_OF_TRAINING = ("epochs", "batch", "optimizer", "lr", "clip", "augment", "every")


def run(options: argparse.Namespace) -> int:
    """Learn, and save the encoder."""
    from episodes.datasets.unlabelled import load_unlabelled
    from fewshot.registry import parse_call

    refuse_given(options, _UNUSED, "--unlabelled")
    out, encoder, method = Path(options.out), required_encoder(options), options.method or "barlow-twins"
    source = load_unlabelled(options.unlabelled, **({"root": options.root} if options.root else {}))
    if parse_call(method)[0] == "pca":
        from fewshot.unsupervised.pca import refuse_tuned

        refuse_given(options, _OF_TRAINING, "--method pca, which is fitted at once")
        refuse_tuned(out)
        _fit_pca(encoder, source, method, not options.quiet).save(out)
    else:
        _train(encoder, source, method, options, out)
    if not options.quiet:
        print(f"saved in {out}; any command takes it: --encoder {quote(str(out))}", file=sys.stderr)
    return 0


def _fit_pca(encoder: str, source: Any, method: str, progress: bool) -> Any:
    from fewshot.registry import parse_call
    from fewshot.unsupervised import fit_pca

    _, positional, named = parse_call(method)
    if len(positional) > 1 or set(named) - {"k", "whiten"} or (positional and "k" in named):
        raise ValueError(f"--method {method!r}; write pca(k) or pca(k, whiten=True).")
    return fit_pca(encoder, source, *positional, **named, progress=progress)


def _train(encoder: str, source: Any, method: str, options: argparse.Namespace, out: Path) -> None:
    from fewshot.transfer.tuned_folder import save_with_encoder
    from fewshot.unsupervised import pretrain_unlabelled

    trained = pretrain_unlabelled(
        encoder, source, method, epochs=given_or(options.epochs, 20), batch=given_or(options.batch, 128),
        optimizer=options.optimizer or "adam", lr=given_or(options.lr, 1e-3), schedule=options.schedule,
        clip=options.clip, precision=options.precision, augment=options.augment, every=options.every,
        out=out / "training", device=options.device, seed=options.seed, callbacks=[reporter(options, "rows")],
        progress=not options.quiet,
    )  # fmt: skip
    save_with_encoder(trained, encoder, out)
