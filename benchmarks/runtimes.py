"""The runtimes of `embed` against an eager loop in batches of 8, on photographs and on texts, alternating in one run.

    python benchmarks/runtimes.py mobilenetv2 resnet18 vit-s minilm --processors 1

Each way decodes (or tokenises) and computes everything anew; the graph for ONNX Runtime is exported before, and what
that took is printed. ``auto`` finds that graph in the cache folder. Cosines are to the rows of the loop, which is
float32: the worst of all rows. MobileNetV2 and MiniLM have their real weights; those of the others are random, which
changes nothing about their cost.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image

from episodes.device import processors
from fewshot import EmbeddingCache, embed, load_encoder
from fewshot.encoders import ModuleEncoder, Preprocess

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RANDOM = {"resnet18": "resnet18", "vit-s": "vit_small_patch16_224"}


def encoder_of(name: str, weights: Path) -> Any:
    if name == "minilm":
        return load_encoder("text:minilm")
    if name == "mobilenetv2":
        return load_encoder(f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, pad_type='same', mean=0.5, std=0.5)")
    torch.manual_seed(0)
    module = timm.create_model(RANDOM[name], pretrained=False, num_classes=0).eval()
    transform = Preprocess(224, 256, timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    return ModuleEncoder(module, transform, name=RANDOM[name])


def loop(items: list[Any], encoder: Any) -> torch.Tensor:
    """What one writes oneself."""
    rows = []
    with torch.inference_mode():
        for first in range(0, len(items), 8):
            part = items[first : first + 8]
            if isinstance(part[0], str):
                rows.append(encoder.encode_texts(part))
                continue
            pictures = []
            for path in part:
                with Image.open(path) as image:
                    pictures.append(encoder.transform(image.convert("RGB")))
            rows.append(encoder.encode_images(torch.stack(pictures)))
    return torch.cat(rows)


def compare(name: str, items: list[Any], encoder: Any, runtimes: list[str], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(folder)

        def by(runtime: str) -> Any:
            for info in cache.ls():
                cache.rm(info.id)
            return embed(items, encoder, cache=cache, runtime=runtime, device="cpu", progress=False)

        started = time.perf_counter()
        first = embed(items[:8], encoder, cache=cache, runtime="onnx", device="cpu", progress=False)
        prepared = time.perf_counter() - started
        found: dict[str, Any] = {}
        times: dict[str, list[float]] = {way: [] for way in ("loop", *runtimes)}
        for number in range(-1, rounds):  # the first round warms up, on a few
            for way in times:
                action: Callable[[], Any] = (lambda: loop(items, encoder)) if way == "loop" else (lambda: by(way))
                if number < 0:
                    loop(items[:8], encoder)
                    continue
                begun = time.perf_counter()
                found[way] = action()
                times[way].append(time.perf_counter() - begun)
        size = sum(info.bytes for info in cache.exports.ls()) / 1e6
    print(f"{name}: {len(items)} items, {processors()} processors, medians of {rounds} alternating rounds")
    print(f"  export, reading and comparing the graph ({first.report['runtime']}): {prepared:.1f} s, {size:.0f} MB")
    for way, seconds in times.items():
        pairs = [own / other for own, other in zip(times["loop"], seconds, strict=True)]
        line = f"  {way:8} {1000 * statistics.median(seconds) / len(items):7.1f} ms an item"
        if way != "loop":
            report, rows = found[way].report, found[way].features.double()
            cosine = torch.cosine_similarity(rows, found["loop"].double()).min()
            line += f" {statistics.median(pairs):5.2f} times the loop ({min(pairs):.2f} to {max(pairs):.2f})"
            line += f"  {report['runtime']}, {report['precision']}, batches of {report['batch_size']}"
            line += f", worst cosine {float(cosine):.6f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=["mobilenetv2", *RANDOM, "minilm"])
    parser.add_argument("--photographs", type=Path, default=SHARED / "imagenet_samples" / "short256")
    weights = SHARED / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    parser.add_argument("--weights", type=Path, default=weights, help="of MobileNetV2")
    parser.add_argument("--texts", type=Path, default=SHARED / "text" / "banking77" / "banking_data" / "test.csv")
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnx", "auto"])
    parser.add_argument("--processors", type=int, help="use so many only")
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)
    photographs = sorted(options.photographs.glob("*.jpg"))[: options.items]
    for name in options.networks:
        items: list[Any] = photographs
        if name == "minilm":
            items = [line.rpartition(",")[0] for line in options.texts.read_text(encoding="utf-8").splitlines()[1:]]
            items = sorted(set(items))[: options.items]
        compare(name, items, encoder_of(name, options.weights), options.runtimes, options.rounds)


if __name__ == "__main__":
    main()
