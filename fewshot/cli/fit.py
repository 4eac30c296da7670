"""``fewshot fit``: a folder of photos, a table or class names in, a saved classifier out."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from fewshot.cli.kept import FIT_TRAINING as TRAINING
from fewshot.cli.options import (
    SOUNDS_BY,
    add_cache,
    add_columns,
    add_device,
    add_prompts,
    add_skipping,
    check_folder,
    read_templates,
)
from fewshot.cli.tuning_options import add_tuning, tuning_arguments

_SHOWN = 10  # suspects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot fit photos/ --encoder timm:mobilenetv2_100 --out birds/      # photos/CLASS/*.jpg\n"
        "  fewshot fit recordings/ --out calls/                              # recordings/CLASS/*.wav\n"
        "  fewshot fit messages.csv --encoder text:minilm --out intents/        # columns text, label\n"
        "  fewshot fit more/ --add --out birds/                                 # further photos or classes\n"
        '  fewshot fit --classes owl crow --task "night pictures" --out zero/   # no example at all\n'
        "  fewshot predict birds/ new/ --csv answers.csv\n\n"
        "Interrupted while --strategy trains, the same command resumes after the last whole epoch."
    )
    parser.add_argument("data", nargs="?", metavar="DATA", help="folder with a sub-folder per class, or a table")
    parser.add_argument("--out", required=True, metavar="MODEL", help="folder of the classifier")
    parser.add_argument(
        "--encoder", metavar="SPEC",
        help="what turns items into features (fewshot list encoders); default timm:mobilenetv2_100 for pictures, "
        "the pixels of their log-mel for recordings, text:minilm for texts, "
        "open_clip:ViT-B-32/laion2b_s34b_b79k for class names alone",
    )  # fmt: skip
    parser.add_argument("--learner", metavar="SPEC", help="default 'l2 | logistic', or 'zero-shot' without examples")
    parser.add_argument(
        "--strategy", metavar="S", help='fine-tune the encoder first: "last(1)", "full", "lora(8)" (default: frozen)'
    )
    parser.add_argument("--add", action="store_true", help="learn these examples on top of those of MODEL")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="class names, in place of examples or besides")
    add_prompts(parser)
    add_columns(parser)
    parser.add_argument(
        "--unlabelled", nargs="+", metavar="FILE",
        help="what will be asked about (files, folders, or a file of texts), at least 10: with one or two examples a "
        "class, probabilities are then judged by how these cluster around them",
    )  # fmt: skip
    add_skipping(parser)
    parser.add_argument("--reject", type=float, metavar="P", help="answer 'unknown' below this probability")
    parser.add_argument("--no-names", action="store_true", help="keep no file names or texts of examples in MODEL")
    parser.add_argument("--no-weights", action="store_true", help="do not copy the encoder's file of weights to MODEL")
    add_cache(parser)
    parser.add_argument("--json", action="store_true", help="print the estimate as a JSON object")
    add_device(parser)
    add_tuning(parser, "how --strategy trains")


def run(options: argparse.Namespace) -> int:
    """Fit, say how good it will be, save."""
    from fewshot.cli.examples import read_examples, read_unlabelled, warn_of_tuned_rows

    out = Path(options.out)
    check_folder(options.out, options.data)
    if options.unlabelled and (options.data is None or options.strategy):
        raise ValueError(
            "--unlabelled is for examples (DATA) and a frozen encoder: without examples there is nothing to cluster "
            "around, and --strategy holds examples out instead."
        )
    if options.data is None:
        return _without_examples(options, out)
    examples = read_examples(options.data, options.path_column, options.text_column, options.label_column)
    others = None
    if options.unlabelled:
        others = read_unlabelled(options.unlabelled, options.text_column, examples.kind)
    classes = sorted(set(examples.labels), key=str)
    if not options.quiet:
        counts = sorted(examples.labels.count(name) for name in classes)
        each = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        what = {"images": "pictures", "sounds": "recordings", "texts": "texts"}[examples.kind]
        print(
            f"{len(examples.items):,} {what}, {len(classes)} class{'es' if len(classes) > 1 else ''} of {each}",
            file=sys.stderr,
        )
    if options.add:
        classifier, names = _more(options, out, examples, others)
    else:
        if len(classes) < 2:
            raise ValueError(
                f"{options.data!r} holds one class, {classes[0]!r}; a classifier needs at least two (a sub-folder per "
                "class, or two labels in the table)."
            )
        classifier = _new(options, examples.kind)
        if options.strategy:
            classifier._training_at = out / TRAINING
        given: dict[str, Any] = {"class_names": options.classes} if options.classes else {}
        try:
            examples = _readable(options, examples, classifier.encoder)
            if others is not None:
                given["unlabelled"] = _readable(options, others, classifier.encoder).items
            classifier.fit(examples.items, examples.labels, **given)
        except ValueError as error:
            _say_what_is_read(options, classifier, examples.kind, error)
            _name_skipping(error)
            raise
        names = examples.names
    warn_of_tuned_rows(examples, classifier.encoder_)
    estimate = classifier.estimate()
    _save(options, classifier, out, names)  # before anything is printed: who reads it may close the pipe
    if options.strategy:
        shutil.rmtree(out / TRAINING, ignore_errors=True)
    _say(options, estimate, names)
    _say_where(options, classifier, out)
    return 0


def _new(options: argparse.Namespace, kind: str) -> Any:
    from fewshot import FewShotClassifier, ZeroShotClassifier, load_learner

    learner, tuning = options.learner or "l2 | logistic", tuning_arguments(options)
    if tuning and not options.strategy:
        flag = next(iter(tuning)).replace("_", "-")
        raise ValueError(f"--{flag} says how an encoder is fine-tuned; say what of it: --strategy 'last(1)'.")
    default = {"texts": "text:minilm", "sounds": SOUNDS_BY}.get(kind, "timm:mobilenetv2_100")
    if options.strategy and "text" in load_learner(learner).needs:
        raise ValueError(f"--strategy fine-tunes for learners on examples alone, and {learner!r} uses words as well.")
    shared = {"cache": options.cache, "device": options.device, "reject": options.reject}
    if "text" in load_learner(learner).needs:
        if options.unlabelled:
            raise ValueError(f"--unlabelled is for learners on examples alone, and {learner!r} uses words as well.")
        return ZeroShotClassifier(
            options.encoder or "open_clip:ViT-B-32/laion2b_s34b_b79k", options.task, learner=learner,
            templates=read_templates(options), descriptions=options.descriptions, **shared,
        )  # fmt: skip
    if options.classes or options.task or options.templates or options.descriptions:
        raise ValueError(
            f"--classes, --task, --templates and --descriptions are words for the classes, which {learner!r} does not "
            "use; take a learner that does, such as --learner tip-adapter, or leave them out."
        )
    return FewShotClassifier(
        options.encoder or default, learner, strategy=options.strategy, tuning=tuning or None, **shared
    )


def _say_what_is_read(options: argparse.Namespace, classifier: Any, kind: str, error: ValueError) -> None:
    """Where items were taken for another kind than they are, say so in place of what came of it."""
    from fewshot.cli.examples import takes
    from fewshot.encoders import load_encoder

    encoder = load_encoder(classifier.encoder)
    if not takes(encoder, kind):
        remedy = {"texts": "--encoder text:minilm; or, where the column names files, --path-column NAME"}
        raise ValueError(
            f"{options.data!r} holds {kind}, which the encoder {encoder.name!r} does not read; take another, such as "
            f"{remedy.get(kind, '--encoder timm:mobilenetv2_100')}."
        ) from error


def _readable(options: argparse.Namespace, examples: Any, encoder: Any) -> Any:
    if not options.skip_damaged:
        return examples
    from fewshot.cli.examples import readable
    from fewshot.encoders import load_encoder

    return readable(examples, load_encoder(encoder), options.cache, options.device, quiet=options.quiet)


def _name_skipping(error: ValueError) -> None:
    """Of an item that cannot be read, say what this command can do about it."""
    from fewshot.embedding.plan import UnreadableItemError

    cause = error.__cause__ or error
    if isinstance(cause, UnreadableItemError):
        raise ValueError(f"{cause.reason} Repair or remove it; --skip-damaged leaves out what is damaged.") from error


def _without_examples(options: argparse.Namespace, out: Path) -> int:
    from fewshot import ZeroShotClassifier

    if not options.classes or options.add:
        raise ValueError("nothing to learn from: give DATA (photos by class, or a table), or --classes NAME NAME ...")
    if len(options.classes) < 2:
        raise ValueError(
            f"--classes holds one class, {options.classes[0]!r}; a classifier needs at least two, separated by blanks: "
            '--classes owl "barn swallow".'
        )
    classifier = ZeroShotClassifier(
        options.encoder or "open_clip:ViT-B-32/laion2b_s34b_b79k", options.task, learner=options.learner or "zero-shot",
        templates=read_templates(options), descriptions=options.descriptions, cache=options.cache,
        device=options.device, reject=options.reject,
    ).fit(None, options.classes)  # fmt: skip
    if not options.quiet:
        print("no examples, so no estimate: try it on rows whose classes you know", file=sys.stderr)
    _save(options, classifier, out, [])
    _say_where(options, classifier, out)
    return 0


def _more(options: argparse.Namespace, out: Path, examples: Any, others: Any) -> tuple[Any, list[str]]:
    from fewshot import FewShotClassifier
    from fewshot.cli.predict import load_classifier, read_names

    refused = [name for name in ("learner", "classes", "task", "strategy") if getattr(options, name)]
    if refused:
        raise ValueError(f"--add keeps the classifier of {options.out!r} as it is; leave out --{refused[0]}.")
    classifier = load_classifier(out, options)
    if not isinstance(classifier, FewShotClassifier):
        raise ValueError(f"{options.out!r} was fitted with class names; fit it anew with all examples.")
    names = read_names(out, len(classifier.support_))
    try:
        examples = _readable(options, examples, classifier.encoder_)
        classifier.partial_fit(examples.items, examples.labels)
        if others is not None:
            classifier.calibrate(unlabelled=_readable(options, others, classifier.encoder_).items)
    except ValueError as error:
        _name_skipping(error)
        raise
    return classifier, [*names, *examples.names]


def _say(options: argparse.Namespace, estimate: Any, names: list[str]) -> None:
    from episodes.printable import printable

    if options.json:
        content = {
            "accuracy": estimate.accuracy if estimate.count else None, "interval": list(estimate.interval),
            "balanced_accuracy": estimate.balanced_accuracy if estimate.count else None,
            "held_out": estimate.count, "classes": estimate.classes, "confusion": estimate.confusion.tolist(),
            "suspects": [{"item": names[row.row], **row._asdict()} for row in estimate.suspects],
        }  # fmt: skip
        print(json.dumps(content, ensure_ascii=False))
        return
    print(printable_lines(str(estimate)))
    if estimate.suspects:
        print("look mislabelled, or hard:")
    for suspect in estimate.suspects[:_SHOWN]:
        print(
            f"  {printable(names[suspect.row])}: is {printable(suspect.label)} ({100 * suspect.own:.0f} %), looks like "
            f"{printable(suspect.guess)} ({100 * suspect.probability:.0f} %)"
        )
    if len(estimate.suspects) > _SHOWN:
        print(f"  and {len(estimate.suspects) - _SHOWN} more (--json lists all)")


def printable_lines(text: str) -> str:
    """Several lines, each safe for a terminal."""
    from episodes.printable import printable

    return "\n".join(printable(line) for line in text.splitlines())


def _save(options: argparse.Namespace, classifier: Any, out: Path, names: list[str]) -> None:
    from episodes.files import write_atomically
    from fewshot.classifier.card import write_card
    from fewshot.cli.predict import NAMES

    classifier.save(out, weights=not options.no_weights)
    write_card(classifier, out)
    kept = [] if options.no_names else names
    write_atomically(out / NAMES, (json.dumps(kept, ensure_ascii=False, indent=0) + "\n").encode())


def _say_where(options: argparse.Namespace, classifier: Any, out: Path) -> None:
    if not options.quiet:
        seen = classifier._seen or ("images" if classifier.encoder_.encodes("images") else "texts")
        new = "--texts NEW.txt" if seen == "texts" else "NEW/"
        print(f"saved in {out}; now: fewshot predict {quote(str(out))} {new} --csv answers.csv", file=sys.stderr)
