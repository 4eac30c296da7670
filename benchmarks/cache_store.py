"""The embedding store against plain files and LMDB, in one run.

    python benchmarks/cache_store.py

Appends rows of 512 half-precision features in commits of 8,192 rows flushed to disk, opens the store, finds shuffled
keys, and loads the whole table; the best of several rounds counts. Everything is warm (in the page cache).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from episodes import EpisodeSampler, TensorSource
from fewshot.cache import EmbeddingCache

FLUSH, DIM = 8192, 512
SPEC = {"dim": DIM, "storage": "float16"}


def best(function: Callable[[], Any], rounds: int) -> float:
    """Least seconds of several rounds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def synced(write: Callable[[Path], Any], path: Path) -> None:
    """Write a file and wait until it is on disk, as the store does."""
    write(path)
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    random, count, rounds = np.random.default_rng(0), options.rows, options.rounds
    keys = random.integers(0, 256, (count, 16), dtype=np.uint8)
    rows = random.standard_normal((count, DIM)).astype(np.float16)
    tensor = torch.from_numpy(rows)
    parts = range(0, count, FLUSH)
    with tempfile.TemporaryDirectory() as scratch:
        folder, number = Path(scratch), iter(range(10**6))

        def append_store() -> None:
            with EmbeddingCache(folder / f"store{next(number)}").space(SPEC).writer(flush_rows=FLUSH) as writer:
                for start in parts:
                    writer.add(keys[start : start + FLUSH], tensor[start : start + FLUSH])

        def append_plain(write: Callable[[Path, Any, Any], Any]) -> Callable[[], None]:
            def run() -> None:
                for start in parts:
                    piece = slice(start, start + FLUSH)
                    synced(lambda path, piece=piece: write(path, keys[piece], rows[piece]), folder / f"p{next(number)}")

            return run

        def append_lmdb() -> None:
            import lmdb

            with lmdb.open(str(folder / f"lmdb{next(number)}"), map_size=2**33) as store:
                for start in parts:
                    with store.begin(write=True) as transaction:
                        for i in range(start, min(start + FLUSH, count)):
                            transaction.put(keys[i].tobytes(), rows[i].data)

        print(f"{count:,} rows x {DIM} float16, {rows.nbytes / 1e6:.0f} MB, commits of {FLUSH:,} rows with fsync\n")
        append = {
            "this store": best(append_store, rounds),
            "np.save per commit": best(append_plain(lambda path, k, r: np.save(open(path, "wb"), r)), rounds),  # noqa: SIM115
            "safetensors per commit": best(append_plain(lambda p, k, r: save_file({"k": k, "r": r}, p)), rounds),
        }
        try:
            append["LMDB"] = best(append_lmdb, 1)
        except ImportError:
            print("LMDB left out: pip install lmdb")
        for name, seconds in append.items():
            rate, ratio = count / seconds, append["this store"] / seconds
            print(f"append  {name:24}{rate:12,.0f} rows/s  {ratio:6.2f} of this store's rate")

        cache = EmbeddingCache(folder / "store0")
        space = cache.space(SPEC)
        shuffled = keys[random.permutation(count)]
        np.save(folder / "one.npy", rows)
        save_file({"r": rows}, folder / "one.safetensors")
        plain = best(lambda: np.fromfile(folder / "one.npy", np.float16), rounds + 3)
        print(f"\nopen    {1e3 * best(lambda: cache.space(SPEC), rounds + 3):8.1f} ms")
        print(f"find    {1e3 * best(lambda: space.contains(shuffled), rounds + 3):8.1f} ms for {count:,} shuffled keys")
        for name, function in {
            "this store, verified": lambda: space.read(keys, dtype=torch.float16),
            "this store, shuffled": lambda: space.read(shuffled, dtype=torch.float16),
            "one plain file": lambda: np.fromfile(folder / "one.npy", np.float16),
            "one safetensors file": lambda: load_file(folder / "one.safetensors"),
        }.items():
            seconds = best(function, rounds + 3)
            print(f"load    {1e3 * seconds:8.1f} ms  {seconds / plain:6.2f} of one plain file  {name}")
        gather(space, keys)


def gather(space: Any, keys: Any) -> None:
    """Rows of episodes out of the table, in memory and memory-mapped, against copying as many rows in a row."""
    labels = torch.arange(len(keys)) % 100
    drawn = EpisodeSampler(labels, way=5, shot=5, query=15, seed=0).draw(first=0, count=1000)
    index = torch.cat([torch.as_tensor(drawn.support), torch.as_tensor(drawn.query)], 1)  # [E, S+Q]
    table = TensorSource(space.table(keys), labels)
    mapped = TensorSource(space.table(keys, memory_limit_bytes=1), labels)
    target, block = torch.empty(index.numel(), DIM), torch.rand(index.numel(), DIM)
    floor = best(lambda: target.copy_(block), 8)
    for name, source in (("table in memory", table), ("memory-mapped table", mapped)):
        buffer = source.buffer(index.numel())
        seconds = best(lambda source=source, buffer=buffer: source.gather(index, buffer), 8)
        print(
            f"gather  {1e6 * seconds / len(index):8.1f} µs an episode  {seconds / floor:6.2f} of a plain copy  {name}"
        )


if __name__ == "__main__":
    main()
