"""Photographs a second: the forward pass alone, and `embed` with each way of decoding, alternating in one run.

    python benchmarks/decoding.py --processors 1
    python benchmarks/decoding.py --processors 1 --megapixels 12 --items 32
    python benchmarks/decoding.py --device cuda --network vit-s --items 4096 --decoding full reduced device

``full`` and ``reduced`` decode with Pillow on the processors, ``device`` with torchvision: with nvJPEG on a GPU, where
this has not been run yet, and with libjpeg on a CPU. The forward pass alone computes pixels that lie on the device, in
batches of the same size. Beside `embed`, decoding is timed without a network: from files to pixels on the device.
Photographs of ImageNet, whose short side is 256; ``--megapixels`` enlarges them first, and more than there are are
copies of the same that differ behind their end. Cosines are to the rows of ``full``: the worst of all.
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

import torch
from PIL import Image
from runtimes import RANDOM, SHARED, encoder_of, enlarged, spent

from episodes.any_source import as_source
from episodes.device import processors
from fewshot import embed
from fewshot.embedding.ahead import batches
from fewshot.embedding.forward import BatchSize, Forward
from fewshot.embedding.settings import Settings


def copies(files: list[Path], count: int, folder: Path) -> list[Path]:
    """So many files: those that there are, over and over, each with an ending of its own."""
    made = []
    folder = folder / "copies"
    folder.mkdir()
    for number in range(count):
        content = files[number % len(files)].read_bytes()
        made.append(folder / f"{number:06}.jpg")
        made[-1].write_bytes(content + f"copy {number // len(files)}".encode())
    return made


def settled(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forward_alone(forward: Forward, pixels: torch.Tensor, items: int) -> None:
    for _ in range(-(-items // len(pixels))):
        forward(pixels).cpu()


def decode_alone(files: list[Path], settings: Settings, forward: Forward, size: int) -> None:
    source = as_source(files, forward.encoder)
    work = settings.plan(source, forward.encoder).whole()
    for batch in batches(
        work, forward.encoder, BatchSize(size, forward.device), settings.threads, forward.device, forward.decoder
    ):
        assert len(batch.units) == len(batch.inputs)
    settled(forward.device)


def measure(options: argparse.Namespace, files: list[Path]) -> None:
    device = torch.device(options.device)
    encoder = encoder_of(options.network, options.weights).to(device)
    settings = Settings(device=options.device, precision=options.precision, workers=options.workers)
    size = encoder.transform.size
    pixels = torch.randint(0, 256, (options.batch_size, 3, size, size), dtype=torch.uint8, device=device)
    forward = settings.forward(encoder)
    found: dict[str, Any] = {}
    common: dict[str, Any] = {
        "cache": False, "device": options.device, "precision": options.precision, "workers": options.workers,
        "batch_size": options.batch_size, "runtime": "torch", "progress": False,
    }  # fmt: skip

    def embedded(way: str) -> None:
        encoder.decoding = way
        found[way] = embed(files, encoder, **common).features.double().cpu()

    def decoded(way: str) -> None:
        encoder.decoding = way
        decode_alone(files, settings, settings.forward(encoder), options.batch_size)

    calls: dict[str, Callable[[], None]] = {"forward alone": lambda: forward_alone(forward, pixels, len(files))}
    for way in options.decoding:
        calls[f"decoding alone, {way}"] = lambda way=way: decoded(way)  # type: ignore[misc]
        calls[f"embed, {way}"] = lambda way=way: embedded(way)  # type: ignore[misc]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(options.rounds + 1):  # the first does not count: decoders and kernels are set up
        for name, call in calls.items():
            before = spent()
            call()
            settled(device)
            if number:
                times[name].append(tuple(now - then for now, then in zip(spent(), before, strict=True)))  # type: ignore[arg-type]
    with Image.open(files[0]) as image:
        shown = f"{image.width} x {image.height}"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.network}, {forward.precision}, {where}, {processors()} processors, torch {torch.__version__}: "
          f"{len(files)} photographs such as {shown}, batches of {options.batch_size}, "
          f"medians of {options.rounds} rounds")  # fmt: skip
    alone = statistics.median(pair[0] for pair in times["forward alone"])
    for name, pairs in times.items():
        clock, used = (statistics.median(pair[kind] for pair in pairs) for kind in (0, 1))
        line = f"  {name:24} {len(files) / clock:8.1f} a second, {1000 * used / len(files):7.2f} ms of a processor each"
        if name.startswith("embed"):
            way = name.partition(", ")[2]
            line += f"; {alone / clock:.2f} of the forward alone"
            if "full" in found:
                line += f"; worst cosine {float(torch.cosine_similarity(found[way], found['full']).min()):.6f}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=SHARED / "imagenet_samples" / "short256")
    weights = SHARED / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    parser.add_argument("--weights", type=Path, default=weights, help="of MobileNetV2")
    parser.add_argument("--network", default="mobilenetv2", choices=["mobilenetv2", *RANDOM])
    parser.add_argument("--decoding", nargs="+", default=["full", "reduced", "device"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--items", type=int, default=128)
    parser.add_argument("--batch-size", type=int, help="4 on a CPU, 256 elsewhere")
    parser.add_argument("--workers", default="auto", type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megapixels", type=float, help="enlarge the photographs first")
    parser.add_argument("--processors", type=int, help="use so many only")
    options = parser.parse_args()
    options.batch_size = options.batch_size or (4 if options.device == "cpu" else 256)
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)
    files = sorted(options.photographs.glob("*.jpg"))[: options.items]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        started = time.perf_counter()
        if options.megapixels:
            files = enlarged(files, options.megapixels, folder)
        if options.items > len(files):
            files = copies(files, options.items, folder)
        if time.perf_counter() - started > 1:
            print(f"{len(files)} photographs made in {time.perf_counter() - started:.0f} s")
        measure(options, files)


if __name__ == "__main__":
    main()
