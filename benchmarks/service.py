"""`predict` in service: one photograph at a time, again and again, with the model loaded.

    python benchmarks/service.py --data ../shared/data --processors 1
    python benchmarks/service.py --data ../shared/data --processors 1 --networks resnet18 --calls 200

A call of `FewShotClassifier.predict` and of `ZeroShotClassifier.predict` against decoding, transform and forward pass
alone, alternating; then what 1,000 calls leave behind: memory, descriptors, threads, files. With ``--export`` also the
exported file, read by the reader of docs/export.md. MobileNetV2 with ImageNet weights on photographs of garments, and
the bundled image-text model; or ResNet-18 with random weights, computed in bfloat16 where the processor has it: there
the forward pass alone has its weights as they are, and `predict` has them in bfloat16 from the second call on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from runtimes import encoder_of

from episodes.any_source import as_source
from fewshot import FewShotClassifier, ZeroShotClassifier, load_encoder
from fewshot.embedding.forward import computing, gains_by_channels_last
from fewshot.embedding.settings import Settings
from fewshot.encoders import Encoder
from fewshot.runtimes import known_forward

ROWS = ("resident memory, MB", "open descriptors", "threads", "files in the cache")


def alone(encoder: Encoder, path: Path, precision: str) -> None:
    """Decode, transform, forward, with channels last where `predict` has them so: nothing else may make it slower."""
    with Image.open(path) as image, computing(torch.device("cpu"), precision):
        image.draft("RGB", tuple(side // encoder.scale_of(path.read_bytes()) for side in image.size))
        assert encoder.transform is not None and encoder.module is not None
        batch = encoder.transform(image.convert("RGB")).unsqueeze(0)
        if gains_by_channels_last(encoder.module):
            batch = batch.contiguous(memory_format=torch.channels_last)
        encoder.encode_images(batch)


def milliseconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def held(cache: Path) -> tuple[float, int, int, int]:
    """What a process holds: see `ROWS`."""
    status = Path("/proc/self/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    return resident, len(os.listdir("/proc/self/fd")), threading.active_count(), sum(1 for _ in cache.rglob("*"))


def service(name: str, model: Any, encoder: Encoder, files: list[Path], cache: Path, options: Any) -> None:
    """Time calls, then make a thousand."""
    precision = known_forward(Settings(device="cpu"), encoder, as_source(files[:1], encoder)).precision
    for path in files[:3]:
        model.predict([path])
        alone(encoder, path, precision)
    pairs = []
    for call in range(options.timed):
        path = files[call % len(files)]
        pairs.append((milliseconds(lambda path=path: alone(encoder, path, precision)),
                      milliseconds(lambda path=path: model.predict([path]))))  # fmt: skip
    floor, mine = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    print(f"{name}, {precision}: predict {mine:.1f} ms, decode and forward {floor:.1f} ms, {mine / floor:.2f} times "
          f"(medians of {options.timed}, alternating)")  # fmt: skip
    marks = [0, options.calls // 10, options.calls // 2, options.calls]
    found = [held(cache)]
    for start, end in pairwise(marks):
        for call in range(start, end):
            model.predict([files[call % len(files)]])
        found.append(held(cache))
    print(f"  after calls{'':14}" + "".join(f"{mark:>10,}" for mark in marks))
    for place, row in enumerate(ROWS):
        print(f"  {row:25}" + "".join(f"{values[place]:>10,.0f}" for values in found))


def exported(model: FewShotClassifier, files: list[Path], options: Any) -> None:
    """The exported file against `predict`, alternating."""
    from fewshot.export.reader import ExportedClassifier

    with tempfile.TemporaryDirectory() as folder:
        path = model.export(Path(folder) / "model.onnx")
        reader = ExportedClassifier(str(path))
        pairs = []
        for call in range(options.timed):
            file = files[call % len(files)]
            pairs.append((milliseconds(lambda file=file: model.predict_proba([file])),
                          milliseconds(lambda file=file: reader.predict_proba([file]))))  # fmt: skip
        own, other = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
        print(f"exported file: {other:.1f} ms, predict_proba {own:.1f} ms (medians of {options.timed}, alternating)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    names = ["mobilenetv2", "tiny-clip", "resnet18", "vit-s"]
    parser.add_argument("--networks", nargs="+", choices=names, default=names[:2])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--timed", type=int, default=200, help="calls that are timed")
    parser.add_argument("--processors", type=int, help="use so many only")
    parser.add_argument("--export", action="store_true", help="time the exported file as well")
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)
    folders = sorted(path for path in (options.data / "clothing_small_224" / "validation").iterdir() if path.is_dir())
    files = {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}
    shown = [(path, name) for name, paths in files.items() for path in paths[:5]]
    asked = [path for paths in files.values() for path in paths[5:15]]
    weights = options.data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    for name in options.networks:
        with tempfile.TemporaryDirectory() as place:
            cache = Path(place)
            if name == "tiny-clip":
                words = load_encoder("fewshot:tiny-clip")
                zero = ZeroShotClassifier(words, cache=cache, device="cpu").fit(None, list(files))
                service("ZeroShotClassifier, fewshot:tiny-clip", zero, words, asked, cache, options)
                continue
            network = encoder_of(name, weights)
            few = FewShotClassifier(network, cache=cache, device="cpu").fit(*map(list, zip(*shown, strict=True)))
            service(f"FewShotClassifier, {name}", few, network, asked, cache, options)
            if options.export:
                exported(few, asked, options)


if __name__ == "__main__":
    main()
