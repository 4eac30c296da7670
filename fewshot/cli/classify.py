"""``fewshot classify``: images or texts into classes that are named in words."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot.cli.options import add_device, add_prompts, read_templates

_STEP = 256  # files per batch of output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n"
        '  fewshot classify photos/*.jpg --classes "barn owl" "tawny owl" '
        '--task "night camera-trap pictures of owls"\n'
        '  fewshot classify --text "my card is lost" --classes "lost card" "exchange rate" --encoder text:minilm'
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="image files, or folders of them")
    parser.add_argument("--text", nargs="+", metavar="TEXT", help="texts instead of files")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="the classes, in words")
    parser.add_argument("--classes-from", metavar="FILE", help="a file with one class per line")
    add_prompts(parser)
    parser.add_argument(
        "--encoder", default="open_clip:ViT-B-32/laion2b_s34b_b79k", metavar="SPEC",
        help="with a text tower: open_clip:MODEL/TAG, open_clip:local-dir:PATH, text:minilm, fewshot:tiny-clip",
    )  # fmt: skip
    parser.add_argument("--reject", type=float, metavar="P", help="answer 'unknown' below this probability")
    parser.add_argument(
        "--none", nargs="?", const=True, metavar="SENTENCE",
        help="answer 'unknown' for what fits no class better than this sentence (default: words for anything)",
    )  # fmt: skip
    parser.add_argument("--multi-label", action="store_true", help="each class for itself")
    parser.add_argument("--threshold", type=float, default=0.5, help="of --multi-label (default 0.5)")
    parser.add_argument("--top", type=int, default=1, help="classes shown per row (default 1)")
    parser.add_argument("--explain", action="store_true", help="also the sentences, their weights and scores")
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")
    parser.add_argument("--csv", action="store_true", help="comma-separated, with the probability of every class")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Classify and print, some hundreds of rows at a time."""
    from fewshot.classifier.zero_shot import ZeroShotClassifier

    items, classes = _items(options), _classes(options)
    classifier = ZeroShotClassifier(
        options.encoder, options.task, templates=read_templates(options), descriptions=options.descriptions,
        cache=options.cache, device=options.device, reject=options.reject, multi_label=options.multi_label,
        threshold=options.threshold, none=options.none,
    ).fit(None, classes)  # fmt: skip
    wanted = "texts" if options.text else "images"
    if not classifier.encoder_.encodes(wanted):
        raise ValueError(f"{options.encoder!r} reads no {wanted}; choose another --encoder.")
    if options.csv:
        csv.writer(sys.stdout).writerow(["item", "label", *classes])
    from episodes.progress import progress_bar

    with progress_bar(len(items), 0, "rows", show=not options.quiet and len(items) > _STEP) as bar:
        for row in _rows(classifier, items, classes, options):
            _print(row, classes, options)
            bar.update(1)
    return 0


def _rows(
    classifier: Any, items: list[Any], classes: list[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    known = classifier.classes_.tolist()
    columns = [known.index(name) for name in classes]  # as they were given, not sorted
    for start in range(0, len(items), _STEP):
        part = items[start : start + _STEP]
        features = classifier.features(part)  # once, for all that is computed from them
        labels, rows = classifier.predict(features), classifier.predict_proba(features)[:, columns]
        reasons = classifier.explain(features) if options.explain else [None] * len(part)
        for item, label, probabilities, reason in zip(part, labels, rows, reasons, strict=True):
            order = (-probabilities).argsort(kind="stable")[: max(1, options.top)]
            shown = [str(classifier.classes_[c]) for c in label.nonzero()[0]] if options.multi_label else str(label)
            yield {"item": str(item), "label": shown, "probabilities": probabilities, "order": order, "reason": reason}


def _print(row: dict[str, Any], classes: list[str], options: argparse.Namespace) -> None:
    label, probabilities = row["label"], row["probabilities"]
    shown = "; ".join(label) if isinstance(label, list) else label
    if options.json:
        content: dict[str, Any] = {
            "item": row["item"], "label": label,
            "probabilities": {
                classes[c]: round(float(probabilities[c]), 6) for c in (-probabilities).argsort(kind="stable")
            },
        }  # fmt: skip
        if row["reason"] is not None:
            content["sentences"] = [vars(sentence) for sentence in row["reason"].sentences]
        print(json.dumps(content, ensure_ascii=False), flush=True)
        return
    if options.csv:
        csv.writer(sys.stdout).writerow([row["item"], shown, *(f"{value:.6f}" for value in probabilities)])
        return
    best = "  ".join(f"{classes[c]} {100 * probabilities[c]:.1f} %" for c in row["order"])
    print(f"{row['item']}\t{shown}\t{best}" if shown not in best or options.top > 1 else f"{row['item']}\t{best}")
    if row["reason"] is not None:
        print("\n".join(str(row["reason"]).splitlines()[1:]))


def _items(options: argparse.Namespace) -> list[Any]:
    if options.text and options.files:
        raise ValueError("give files or --text, not both.")
    if options.text:
        return list(options.text)
    from episodes.labelled_files import pictures_below

    found: list[Any] = []
    for name in options.files:
        path = Path(name)
        if path.is_dir():
            found += pictures_below(path)
        elif path.is_file():
            found.append(path)
        else:
            what = "file that matches" if any(sign in name for sign in "*?[") else "file or folder"
            raise FileNotFoundError(f"there is no {what} {name!r}.")
    if not found:
        raise ValueError("nothing to classify; give image files, a folder of them, or --text.")
    return found


def _classes(options: argparse.Namespace) -> list[str]:
    listed = list(options.classes or [])
    if options.classes_from:
        if not Path(options.classes_from).is_file():
            raise FileNotFoundError(f"there is no file of classes {options.classes_from!r}.")
        lines = Path(options.classes_from).read_text(encoding="utf-8").splitlines()
        listed += [line.strip() for line in lines if line.strip()]
    if not listed:
        raise ValueError('name the classes: --classes "barn owl" "tawny owl", or --classes-from FILE.')
    if len(listed) < 2 and not options.multi_label and options.none is None:
        raise ValueError(
            f"there is one class, {listed[0]!r}, so the answer is known; name two or more, separated by blanks, or say "
            "--none (of these) or --multi-label."
        )
    return listed
