"""``fewshot embed``: fill the embedding cache ahead of time."""

from __future__ import annotations

import argparse
import json

from fewshot.cli.options import add_dataset, add_device, add_runtime, default_encoder, read_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "example:\n  fewshot embed --data folder:photos/ --encoder timm:mobilenetv2_100 --engine 2\n\n"
        "Interrupted, the same command resumes; items known to the encoder are never computed again."
    )
    add_dataset(parser)
    add_device(parser)
    add_runtime(parser)
    parser.add_argument("--batch-size", type=int, metavar="N", help="items per forward pass (default: automatic)")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"), help="of the forward pass"
    )
    parser.add_argument("--storage", default="float16", choices=("float16", "float32"), help="of the rows on disk")
    parser.add_argument("--engine", metavar="SPEC", help='a number of processes, or "ray(workers=8)"')
    parser.add_argument("--json", action="store_true", help="print the report as a JSON object")


def run(options: argparse.Namespace) -> int:
    """Embed and print the counts."""
    from fewshot import EmbeddingCache, embed

    engine = int(options.engine) if options.engine and options.engine.isdigit() else options.engine
    source = read_dataset(options)
    source = embed(
        source, options.encoder or default_encoder(source),
        cache=EmbeddingCache(options.cache) if options.cache else None, device=options.device, engine=engine,
        batch_size="auto" if options.batch_size is None else options.batch_size,
        precision=options.precision, storage=options.storage,
        runtime=options.runtime,
        on_error="skip" if options.skip_damaged else "raise", progress=not options.quiet,
    )  # fmt: skip
    if options.json:
        print(json.dumps({"name": source.name, "rows": len(source), **source.report}, default=str))
        return 0
    report = source.report
    print(f"{source.name}: {len(source):,} rows of {source.features.shape[1]} features in space {report['space'][:8]}")
    print(
        f"{report['hits']:,} from the cache, {report['computed']:,} computed in {report['seconds']:.1f} s "
        f"({report['images_per_second']:.0f} a second)"
    )
    if report.get("skipped"):
        print(f"left out: {len(report['skipped'])} damaged items")
        for item in report["skipped"]:
            print(f"  {item}")
    return 0
