"""``fewshot evaluate``: learners x shots on one dataset."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.cli.options import (
    add_dataset,
    add_device,
    add_prompts,
    add_runtime,
    add_seed,
    load_source,
    read_dataset,
    read_templates,
    terminal_width,
)
from fewshot.cli.too_few import refuse_too_few

if TYPE_CHECKING:
    from episodes.samplers.sampler import Sampler

_LOG = logging.getLogger("fewshot")
# Named here, since importing them would make --help slow; a test compares.
METRICS = ("accuracy", "auroc", "fpr95", "balanced-accuracy", "macro-f1", "ece", "log-loss")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n"
        '  fewshot evaluate --data digits --learner prototypes "l2 | ridge(alpha=0.1)" --shot 1 5\n\n'
        "The same command with --out resumes where it was interrupted, and skips what is done."
    )
    add_dataset(parser)
    parser.add_argument(
        "--learner", nargs="+", default=["l2 | logistic"], metavar="SPEC",
        help='learners as spec strings, "ridge(alpha=0.1)"; transforms in front: "l2 | prototypes"',
    )  # fmt: skip
    parser.add_argument(
        "--base", metavar="SPEC",
        help="a dataset of other classes, for what is fitted to base data: cl2n, whiten, simpleshot, "
        "distribution-calibration",
    )  # fmt: skip
    parser.add_argument("--way", type=int, nargs="+", default=[5], help="classes per episode (default 5)")
    parser.add_argument("--shot", type=int, nargs="+", default=[1, 5], help="support rows per class (default 1 5)")
    parser.add_argument("--query", type=int, default=15, help="query rows per class (default 15)")
    parser.add_argument("--episodes", type=int, default=2000, help="episodes per cell (default 2000)")
    parser.add_argument(
        "--disjoint", action="store_true",
        help="no two episodes share a row: the interval then covers the data too (--episodes is a maximum)",
    )  # fmt: skip
    parser.add_argument(
        "--sampler", default="fixed", metavar="SPEC",
        help='how episodes are drawn: fixed, disjoint, "dirichlet(alpha=2.0)", hierarchical, variable, open-set, '
        "semi-supervised, exhaustive, \"manifest(path='episodes.npz')\" (default fixed)",
    )  # fmt: skip
    parser.add_argument(
        "--metric", default="accuracy", choices=METRICS,
        help=f"what is measured in each episode: {', '.join(METRICS)}; auroc and fpr95 need --sampler open-set "
        "(default accuracy)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-predictions", action="store_true",
        help="keep the prediction for each query in a folder beside --out: scores by class in `fewshot report`",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="weights that `fewshot train` wrote, for the one learner")
    add_prompts(parser, "for learners that use class text: ")
    parser.add_argument("--out", metavar="FILE", help="JSON Lines file to add results to and resume from")
    parser.add_argument(
        "--engine", metavar="SPEC", help='where cells run: a number of processes, or "ray(workers=4)"; needs --out'
    )
    parser.add_argument("--compare", action="store_true", help="also print paired comparisons")
    parser.add_argument("--json", action="store_true", help="print one JSON object per cell instead of a table")
    add_seed(parser)
    add_device(parser)
    add_runtime(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print."""
    from episodes import Results, evaluate
    from episodes.report import to_text
    from fewshot.samplers import make_samplers

    if options.engine and not options.out:
        raise ValueError("--engine needs --out FILE: workers add their cells to that file.")
    if options.engine and options.base:
        raise ValueError("--base is not carried to an engine; leave --engine out.")
    if options.keep_predictions and not options.out:
        raise ValueError("--keep-predictions needs --out FILE: predictions are kept in a folder beside that file.")
    _refuse_pointless(options)
    _refuse_too_few(options)
    source, rows = sources(options)
    learners = fit_learners(options) if options.base else options.learner
    if options.weights:
        learners = with_weights(options)
    text = class_text(options, source.class_names)
    show = not options.quiet
    sampler_spec = "disjoint" if options.disjoint else options.sampler
    samplers = make_samplers(sampler_spec, source, options.way, options.shot, options.query, options.seed)
    results = Results()
    for able, group in _groups(learners, samplers):
        if options.engine:
            from fewshot import evaluate_grid

            engine = int(options.engine) if options.engine.isdigit() else options.engine
            results += evaluate_grid(
                able, rows, group,
                out=options.out, episodes=options.episodes, engine=engine, device=options.device, progress=show,
                text=text, metric=options.metric, keep_predictions=options.keep_predictions,
            )  # fmt: skip
            continue
        for sampler in group:
            results += evaluate(
                able, rows, sampler, device=options.device, out=options.out, progress=show,
                metric=options.metric, keep_predictions=options.keep_predictions, text=text,
                episodes=min(options.episodes, sampler.available or options.episodes),
            )  # fmt: skip
    if options.json:
        for cell in results.cells:
            left_out = ("correct", "scores", "checksum")
            summary = {key: value for key, value in cell.to_json().items() if key not in left_out}
            print(json.dumps(summary))
        return 0
    print(to_text(results, terminal_width()))
    if options.compare and len(options.learner) > 1:
        from episodes.comparison import compare_all

        print()
        for comparison in compare_all(results):
            print(comparison)
    if options.out and show:
        print(f"results are in {options.out}", file=sys.stderr)
    return 0


def _refuse_pointless(options: argparse.Namespace) -> None:
    """Say before anything is embedded that there is nothing to learn from, or nothing to tell apart."""
    from fewshot import load_learner

    without = [spec for spec in options.learner if "text" not in load_learner(spec).needs]
    if 0 in options.shot and without:
        if len(without) == len(options.learner):
            raise ValueError(
                f"--shot 0 leaves {without[0]!r} nothing to learn from; give 1 or more, or a learner that knows "
                "classes by their names, such as zero-shot."
            )
        _LOG.info("--shot 0 leaves out what learns from examples alone: %s.", ", ".join(map(repr, without)))
    if 1 in options.way and options.sampler == "fixed":
        raise ValueError("--way 1 leaves one class, and nothing to tell apart; give 2 or more.")


def _groups(learners: Any, samplers: Sequence[Sampler]) -> list[tuple[Any, list[Sampler]]]:
    """Samplers with the learners that can do their tasks: without examples, those that know classes by their names."""
    from fewshot import load_learner

    none = [sampler for sampler in samplers if getattr(sampler, "shot", None) == 0]
    some = [sampler for sampler in samplers if getattr(sampler, "shot", None) != 0]
    named = learners if isinstance(learners, dict) else {spec: spec for spec in learners}
    able = {name: learner for name, learner in named.items() if "text" in load_learner(learner).needs}
    zero = able if isinstance(learners, dict) else list(able)
    return [(given, group) for given, group in ((zero, none), (learners, some)) if group]


def _refuse_too_few(options: argparse.Namespace) -> None:
    """Say before hours of embedding that classes of one's own are too small for --shot and --query."""
    if options.disjoint or options.sampler != "fixed" or options.base or options.skip_damaged:
        return
    if not options.data.startswith(("folder:", "audio:", "csv:", "text-csv:")) and not Path(options.data).exists():
        return
    refuse_too_few(
        read_dataset(options), options.data, max(options.way), max(options.shot), options.query,
        "To classify photos of your own rather than compare learners: fewshot fit.",
    )  # fmt: skip


def sources(options: argparse.Namespace) -> tuple[Any, Any]:
    """A source for names and labels, and what the learners are given: features, pictures as they are, or both."""
    from fewshot import load_learner

    inputs = {load_learner(spec).inputs for spec in options.learner}
    if "images" not in inputs:
        source = load_source(options)
        return source, source
    pictures = read_dataset(options)
    if pictures.kind != "images":
        learns = next(spec for spec in options.learner if load_learner(spec).inputs == "images")
        raise ValueError(
            f"{learns!r} learns from images, and the rows of {options.data!r} are features; give a dataset of images, "
            "such as omniglot:test or folder:PATH."
        )
    if inputs == {"images"}:
        if options.encoder:
            raise ValueError("--encoder is for learners on features, and all of these learn from images; leave it out.")
        return pictures, pictures
    source = load_source(options)
    return source, {"features": source, "images": pictures}


def fit_learners(options: argparse.Namespace) -> dict[str, Any]:
    """The learners, those that can be fitted to the base data."""
    from fewshot import load_learner

    base = load_source(argparse.Namespace(**{**vars(options), "data": options.base}))
    learners = {spec: load_learner(spec) for spec in options.learner}
    fits = [fit for learner in learners.values() if callable(fit := getattr(learner, "fit", None))]
    for fit in fits:
        fit(base)
    if not fits:
        raise ValueError(f"--base {options.base}: none of the learners is fitted to base data; leave it out.")
    return learners


def with_weights(options: argparse.Namespace) -> dict[str, Any]:
    """The one learner, with trained weights."""
    from fewshot import load_learner
    from fewshot.meta import load_weights

    if len(options.learner) != 1 or options.engine or options.base:
        raise ValueError("--weights are of one --learner, without --base and --engine.")
    spec = options.learner[0]
    return {f"{spec} @ {options.weights}": load_weights(load_learner(spec), options.weights)}


def class_text(options: argparse.Namespace, class_names: list[str]) -> Any:
    """A vector per class ``[C, D]`` if some learner uses class text, else None."""
    from fewshot import Prompts, load_encoder, load_learner

    if not any("text" in load_learner(spec).needs for spec in options.learner):
        if options.task or options.templates or options.descriptions:
            raise ValueError(
                "--task, --templates and --descriptions are for learners that use class text: zero-shot, ..."
            )
        return None
    if options.encoder is None:
        raise ValueError(
            "learners with class text need an --encoder that reads texts: open_clip:..., fewshot:tiny-clip"
        )
    prompts = Prompts(class_names, read_templates(options), descriptions=options.descriptions, task=options.task)
    return prompts.encode(load_encoder(options.encoder), cache=options.cache, device=options.device)
