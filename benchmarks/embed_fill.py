"""Filling the embedding cache against the bare model, on real photographs with a real network.

    python benchmarks/embed_fill.py --photographs FOLDER --weights timm_mobilenetv2_100.safetensors

The bare loop decodes the same files in as many threads, runs the same network on batches of the same size,
and throws the features away. `embed` also reads and hashes every file, checks its canary and commits the rows to
disk. Both are run in turn, several times; the best of each counts. Times are ratios that matter, not seconds.

What else a user might write, other runtimes, texts and photographs of 12 megapixels are in `runtimes.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from episodes.device import processors
from fewshot import embed, load_encoder
from fewshot.embedding.ahead import decoding_threads

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def bare(files: list[Path], encoder: Any, batch_size: int, workers: int) -> None:
    """Decode ahead in threads, stack, forward; nothing else."""

    def decode(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            return encoder.transform(image.convert("RGB"))  # type: ignore[no-any-return]

    def stacked(pool: ThreadPoolExecutor, part: list[Path]) -> list[Future[torch.Tensor]]:
        return [pool.submit(decode, path) for path in part]

    with decoding_threads(workers) as pool, torch.inference_mode():
        ahead: deque[list[Future[torch.Tensor]]] = deque()
        starts = range(0, len(files), batch_size)
        for number in range(len(starts) + 2):
            if number < len(starts):
                ahead.append(stacked(pool, files[starts[number] : starts[number] + batch_size]))
            if number >= 2:
                batch = torch.stack([future.result() for future in ahead.popleft()])
                encoder.encode_images(batch.to(encoder.device)).cpu()


def timed(action: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=SHARED / "imagenet_samples" / "short256")
    weights = SHARED / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    parser.add_argument("--weights", type=Path, default=weights)
    parser.add_argument("--images", type=int, default=256, help="how many photographs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=0, help="also with 1 and with so many worker processes")
    parser.add_argument(
        "--processors", type=int, help="use so many only; with 1, the ratio is steady on a busy machine"
    )
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)

    files = sorted(options.photographs.glob("*.jpg"))[: options.images]
    spec = f"timm:mobilenetv2_100(checkpoint={str(options.weights)!r}, pad_type='same', mean=0.5, std=0.5)"
    encoder = load_encoder(spec).to(options.device)
    workers, size = processors(), options.batch_size
    common: dict[str, Any] = {
        "batch_size": size, "workers": workers, "device": options.device, "precision": "float32",
        "progress": False,
    }  # fmt: skip
    bare(files[:size], encoder, size, workers)
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append((
                timed(lambda: bare(files, encoder, size, workers)),
                timed(lambda: embed(files, encoder, cache=folder, **common)),
                timed(lambda: embed(files, encoder, cache=folder, **common)),
            ))  # fmt: skip
    (loop, loop_cpu), (first, first_cpu), (second, _) = (
        (min(row[i][0] for row in rounds), min(row[i][1] for row in rounds)) for i in range(3)
    )
    count = len(files)
    pairs = statistics.median(row[1][1] / row[0][1] for row in rounds)
    print(f"{count} photographs, batches of {size}, {workers} decoding threads, {options.device}")
    for name, seconds, cpu in (("bare loop", loop, loop_cpu), ("first embed", first, first_cpu)):
        ratios = f"time {seconds / loop:.2f}, processor time {cpu / loop_cpu:.2f}"
        print(f"{name:12} {seconds:7.2f} s {count / seconds:8.1f} images/s   {ratios}")
    print(f"median of {options.rounds} pairs: the first embed takes {pairs:.3f} of the bare loop's processor time")
    times = f"{first / second:.0f} times as fast as the first"
    print(f"{'second embed':12} {second:7.3f} s {count / second:8.0f} images/s   {times}")
    found, seconds = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            automatic = {**common, "batch_size": "auto"}
            seconds.append(timed(lambda: found.append(embed(files, encoder, cache=folder, **automatic)))[0])
    print(f"batch size found: {found[-1].report['batch_size']}; {min(seconds) / first:.2f} of the first embed's time")
    if options.processes:
        numbers = (1, options.processes)
        loops = [bare_by_processes(files, spec, number, size) for number in numbers]
        embeds = [by_processes(files, spec, number, size) for number in numbers]
        print(
            f"{options.processes} worker processes are {embeds[0] / embeds[1]:.2f} times as fast as one, once started; "
            f"the bare loop in as many processes {loops[0] / loops[1]:.2f} times"
        )


def by_processes(files: list[Path], spec: str, number: int, batch_size: int) -> float:
    """Seconds that so many worker processes need, each on one processor."""
    spawn = multiprocessing.get_context("spawn")
    engine = ProcessPoolExecutor(number, spawn, initializer=one_processor, initargs=(spawn.Value("i", 0),))
    with tempfile.TemporaryDirectory() as folder, engine:
        # The first pass starts the workers, imports and loads the network.
        embed(files[: 4 * number], spec, cache=folder, engine=engine, workers=1, device="cpu", progress=False)
        return timed(
            lambda: embed(
                files, spec, cache=folder, engine=engine, workers=1, device="cpu", batch_size=batch_size,
                progress=False,
            )
        )[0]  # fmt: skip


def bare_by_processes(files: list[Path], spec: str, number: int, batch_size: int) -> float:
    """Seconds of the bare loop, the files shared out in advance: what this machine's processors can give."""
    spawn = multiprocessing.get_context("spawn")
    engine = ProcessPoolExecutor(number, spawn, initializer=one_processor, initargs=(spawn.Value("i", 0),))
    with engine:
        list(engine.map(bare_part, [(files[part : 4 * number : number], spec, batch_size) for part in range(number)]))
        parts = [(files[part::number], spec, batch_size) for part in range(number)]
        return timed(lambda: list(engine.map(bare_part, parts)))[0]


def bare_part(part: tuple[list[Path], str, int]) -> None:
    """The bare loop in a worker."""
    files, spec, batch_size = part
    bare(files, loaded(spec), batch_size, 1)


@lru_cache
def loaded(spec: str) -> Any:
    """One network per worker."""
    return load_encoder(spec)


def one_processor(number: Any) -> None:
    """Keep a worker, its decoding thread included, on a processor of its own."""
    torch.set_num_threads(1)
    with number.get_lock():
        mine, number.value = number.value, number.value + 1
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[mine % len(available)]})


if __name__ == "__main__":
    main()
