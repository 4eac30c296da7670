"""``fewshot inspect``: what each stage of a network makes of labelled rows, and what training is fed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fewshot.cli.options import add_cache, add_device, add_place, add_seed, read_dataset

AXES = ("pca", "lda")  # named here, since importing them would make --help slow; a test compares


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot inspect folder:photos/ --encoder timm:mobilenetv2_100 --out inside.html\n"
        "  fewshot inspect folder:held-out/ --encoder timm:mobilenetv2_100 --after tuned/ --train folder:photos/ "
        "--out inside.html\n"
        '  fewshot inspect folder:photos/ --encoder timm:resnet18 --augment "flip | crop(0.6)" --sheet fed.png\n\n'
        "With --after, give rows that the network was not tuned on."
    )
    parser.add_argument("data", metavar="DATA", help="labelled rows: folder:PATH, csv:FILE, text-csv:FILE or a name")
    parser.add_argument("--encoder", required=True, metavar="SPEC", help="the network (fewshot list encoders)")
    parser.add_argument("--after", metavar="DIR", help="what fine-tuning made of it: a folder of TunedEncoder.save")
    parser.add_argument("--train", metavar="DATA", help="rows that the head for the frozen features is fitted to")
    parser.add_argument(
        "--out", nargs="+", default=[], metavar="FILE", help="page, picture or numbers: .html, .svg, .json"
    )
    parser.add_argument("--axes", choices=AXES, default="pca", help="of the maps (default pca)")
    parser.add_argument("--rows", type=int, default=1000, help="the most that are looked at (default 1000)")
    parser.add_argument("--augment", metavar="SPEC", help='augmentation to show on --sheet, "flip | crop(0.6)"')
    parser.add_argument("--sheet", metavar="FILE", help="contact sheet of what training is fed, .png or .jpg")
    add_place(parser)
    add_cache(parser)
    parser.add_argument("--json", action="store_true", help="print the numbers as one JSON object")
    add_seed(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Look, print the table, write what was asked for."""
    from fewshot import EmbeddingCache, inspect, load_encoder, load_tuned

    if options.augment and not options.sheet:
        raise ValueError("--augment is shown on a contact sheet; say where: --sheet FILE.png.")
    for name in options.out:
        if Path(name).suffix.lower() not in (".html", ".svg", ".json"):
            raise ValueError(f"cannot write {name!r}; --out takes .html, .svg and .json files.")
    encoder, source = load_encoder(options.encoder), read_dataset(options)
    if options.sheet:
        _write_sheet(options, source, encoder)
        if not options.out and not options.after:  # that was all
            return 0
    found = inspect(
        encoder, source, None if options.after is None else load_tuned(options.after, encoder), train=options.train,
        axes=options.axes, rows=options.rows, cache=EmbeddingCache(options.cache) if options.cache else None,
        device=options.device, seed=options.seed, progress=not options.quiet,
    )  # fmt: skip
    for name in options.out:
        print(f"wrote {found.save(name)}", file=sys.stderr)
    print(json.dumps(found.to_dict()) if options.json else found)
    return 0


def _write_sheet(options: argparse.Namespace, source: Any, encoder: Any) -> None:
    import io

    from episodes.files import write_atomically
    from fewshot import contact_sheet

    path, out = Path(options.sheet), io.BytesIO()
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"cannot write {path.name!r}; a contact sheet is a .png or .jpg file.")
    contact_sheet(source, encoder, options.augment, seed=options.seed).save(out, kinds[path.suffix.lower()])
    write_atomically(path, out.getvalue())
    print(f"wrote {path}", file=sys.stderr)
