"""A classifier in service: one photograph at a time, again and again, with MobileNetV2.

    python benchmarks/service.py --calls 1000 --processors 1

Each `predict` of a new photograph stands beside decoding and the forward pass alone on the same one, in turn. Then what
so many calls leave: resident memory, open descriptors, threads and files of the cache folder, every tenth of the way.
Last, the same photographs through the file of `classifier.export`, by the reader of docs/export.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fewshot import FewShotClassifier, ZeroShotClassifier, load_encoder
from fewshot.export.reader import ExportedClassifier

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CLASSES = 5


def resident() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def state(cache: Path) -> str:
    descriptors, files = len(os.listdir("/proc/self/fd")), sum(path.is_file() for path in cache.rglob("*"))
    return f"{resident():7.1f} MB, {descriptors} descriptors, {threading.active_count()} threads, {files} files"


def milliseconds(action: Callable[[], Any]) -> float:
    started = time.process_time()
    action()
    return 1000 * (time.process_time() - started)


def bare(encoder: Any, path: Path) -> Any:
    """Decoding and the forward pass."""
    with Image.open(path) as image, torch.inference_mode():
        return encoder.encode_images(encoder.transform(image.convert("RGB")).unsqueeze(0))


def serve(name: str, model: Any, encoder: Any, files: list[Path], calls: int, cache: Path) -> None:
    """Times of both, alternating, and what is left."""
    for path in files[:5]:
        model.predict([path])
        bare(encoder, path)
    print(f"{name}\n  {0:5} calls {state(cache)}", flush=True)
    own, alone = [], []
    for call in range(calls):
        path = files[call % len(files)]
        own.append(milliseconds(lambda: model.predict([path])))
        if call < 200:
            alone.append(milliseconds(lambda: bare(encoder, path)))
        if (call + 1) % max(1, calls // 5) == 0:
            print(f"  {call + 1:5} calls {state(cache)}", flush=True)
    both = own[: len(alone)]
    ratio = statistics.median(both) / statistics.median(alone)
    print(
        f"  median of {len(alone)}: predict {statistics.median(both):.1f} ms, decoding and forward pass "
        f"{statistics.median(alone):.1f} ms: {ratio:.2f} times (processor time)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=SHARED / "imagenet_samples" / "short256")
    weights = SHARED / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--processors", type=int, help="use so many only")
    parser.add_argument("--zero-shot", help="also zero-shot, with this encoder of pictures and texts")
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)
    files = sorted(options.photographs.glob("*.jpg"))
    examples, rest = files[: 2 * CLASSES], files[2 * CLASSES :]
    encoder = load_encoder(
        f"timm:mobilenetv2_100(checkpoint={str(options.weights)!r}, pad_type='same', mean=0.5, std=0.5)"
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        names = [f"class {number // 2}" for number in range(2 * CLASSES)]
        model = FewShotClassifier(encoder, cache=cache, device="cpu").fit(examples, names)
        serve("FewShotClassifier", model, encoder, rest, options.calls, cache)
        model.export(Path(folder) / "model.onnx")
        threads = torch.get_num_threads()
        reader = ExportedClassifier(Path(folder) / "model.onnx")
        reader.predict([rest[0]])
        exported, computed = [], []
        for path in (rest * 200)[:200]:
            exported.append(milliseconds(lambda: reader.predict([path])))
            computed.append(milliseconds(lambda: model.predict([path])))
        print(
            f"median of 200, alternating, {threads} threads of torch: the exported file "
            f"{statistics.median(exported):.1f} ms, predict {statistics.median(computed):.1f} ms (processor time)"
        )
        if options.zero_shot:
            towers = load_encoder(options.zero_shot)
            zero: Any = ZeroShotClassifier(towers, cache=cache, device="cpu").fit(None, ["dog", "car", "tree"])
            serve("ZeroShotClassifier", zero, towers, rest, options.calls, cache)


if __name__ == "__main__":
    main()
