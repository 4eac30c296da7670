"""Options that several verbs share."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """``--data --root --encoder --cache``: which rows to learn from."""
    parser.add_argument(
        "--data", default="digits", metavar="SPEC",
        help="a dataset name (fewshot list datasets), folder:PATH, csv:FILE or arrays:FILE (default digits)",
    )  # fmt: skip
    add_place(parser)
    parser.add_argument(
        "--encoder",
        metavar="SPEC",
        help="what turns images into features (fewshot list encoders); default pixels",
    )
    add_cache(parser)
    add_skipping(parser)


def add_skipping(parser: argparse.ArgumentParser) -> None:
    """``--skip-damaged``: what to do with items that cannot be read."""
    parser.add_argument("--skip-damaged", action="store_true", help="leave damaged items out (on_error='skip')")


def add_place(parser: argparse.ArgumentParser) -> None:
    """``--root --download``: where a named dataset lies."""
    parser.add_argument("--root", metavar="DIR", help="where the dataset lies on disk")
    parser.add_argument("--download", action="store_true", help="fetch the dataset if it is not there")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """``--cache``: where embeddings are kept."""
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """``--path-column --text-column --label-column``: of a table of examples."""
    for name, what in (("path", "files"), ("text", "texts"), ("label", "classes")):
        parser.add_argument(f"--{name}-column", metavar="NAME", help=f"of a table: the {what}")


_PRINTED = 120  # letters of a line in a file, or where another program reads


def terminal_width() -> int:
    """Letters of a line: those of the terminal, or 120 where standard output goes to a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PRINTED


def check_folder(out: str, data: str | None = None) -> None:
    """Refuse, before work is done for it, a place that cannot be the folder of a result.

    Args:
        out: the folder, which need not be there yet.
        data: where the examples lie.

    Raises:
        ValueError: it is a file, or lies among the examples.
    """
    if os.path.exists(out) and not os.path.isdir(out):
        raise ValueError(f"--out {out} is a file; give a folder, which need not be there yet.")
    if data is not None and os.path.isdir(data):
        place, own = Path(out).resolve(), Path(data).resolve()
        if place == own or own in place.parents:
            raise ValueError(f"--out {out} lies in {data!r}, whose folders are classes; give a folder outside of it.")


def load_results(files: list[str]) -> Any:
    """The results in files, at least one.

    Raises:
        ValueError: there is none in them.
    """
    from episodes import Results

    for file in files:
        if not os.path.exists(file):
            raise FileNotFoundError(f"there is no file {file!r}; `fewshot evaluate --out {file}` writes one.")
    results = Results.load(*files)
    if not results.cells:
        verb = "holds" if len(files) == 1 else "hold"
        raise ValueError(f"{', '.join(files)} {verb} no results; `fewshot evaluate --out {files[0]}` writes some.")
    return results


def add_seed(parser: argparse.ArgumentParser) -> None:
    """``--seed``: which episodes."""
    parser.add_argument("--seed", type=int, default=0, help="0 to 2**64 - 1 (default 0)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``: where tensors are."""
    parser.add_argument("--device", default="auto", type=_device, help="auto, cpu, cuda, cuda:1, mps (default auto)")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """``--runtime``: what computes the encoder's network."""
    parser.add_argument(
        "--runtime", default="auto", choices=("auto", "torch", "compile", "onnx"),
        help="what computes the encoder; auto: as its spec says (runtime='onnx'), else what is measured faster",
    )  # fmt: skip


def _device(name: str) -> str:
    if name.lower() in ("gpu", "nvidia", "apple", "metal"):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; write cuda (NVIDIA), mps (Apple), cpu or auto")
    return name


def add_prompts(parser: argparse.ArgumentParser, where: str = "") -> None:
    """``--task --templates --descriptions``: the words for the classes."""
    parser.add_argument("--task", help=f"{where}what the task is, in words; it chooses and weighs the prompts")
    parser.add_argument(
        "--templates", nargs="+", metavar="TEMPLATE", help=f"{where}name of a set, or sentences with {{label}}"
    )
    parser.add_argument("--descriptions", metavar="FILE", help=f"{where}JSON file: class name -> sentences or features")


def read_templates(options: argparse.Namespace) -> list[str] | str | None:
    """One word of ``--templates`` may be the name of a set; several are sentences."""
    given: list[str] | None = options.templates
    return given[0] if given and len(given) == 1 else given


SOUNDS_BY = "pixels(size=40, grey=True)"  # benchmarks: better than networks trained on photographs


def read_dataset(options: argparse.Namespace) -> Any:
    """The dataset that the options name."""
    from episodes import load_dataset

    wanted: dict[str, Any] = {}
    if options.root:
        wanted["root"] = options.root
    if options.download:
        wanted["download"] = True
    return load_dataset(options.data, **wanted)


def default_encoder(source: Any) -> str:
    """Pixels; of pictures of several sizes, scaled to one, which is said; of recordings, those of their log-mel."""
    from PIL import Image, UnidentifiedImageError

    from episodes import AudioSource

    if isinstance(source, AudioSource):
        return SOUNDS_BY
    sizes = set()
    for item in getattr(source, "items", ()):
        if not isinstance(item, str | os.PathLike):
            return "pixels"
        try:
            with Image.open(item) as picture:  # the header alone
                sizes.add(picture.size)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue  # embedding will name it
        if len(sizes) > 1:
            print(
                f"{source.name}: the pictures have several sizes, and no --encoder is named: their pixels at 32 x 32 "
                "are compared. A pretrained network does far better: --encoder timm:mobilenetv2_100",
                file=sys.stderr,
            )
            return "pixels(size=32)"
    return "pixels"


def load_source(options: argparse.Namespace) -> Any:
    """The rows that the options name, embedded if they are not features yet."""
    source = read_dataset(options)
    if options.encoder is None and source.kind == "features":
        return source
    from fewshot import EmbeddingCache, embed

    cache = EmbeddingCache(options.cache) if options.cache else None
    encoder = options.encoder or default_encoder(source)
    embedded = embed(
        source, encoder, cache=cache, device=options.device, progress=not options.quiet,
        on_error="skip" if options.skip_damaged else "raise", runtime=getattr(options, "runtime", "auto"),
    )  # fmt: skip
    if not options.quiet:
        report = embedded.report
        print(
            f"{embedded.name}: {len(embedded):,} rows, {report['hits']:,} from the cache, "
            f"{report['computed']:,} computed in {report['seconds']:.1f} s"
            + (f", {len(report['skipped'])} damaged ones left out" if report["skipped"] else ""), file=sys.stderr,
        )  # fmt: skip
    return embedded
