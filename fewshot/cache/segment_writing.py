"""Writing a segment: aside, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import platform
import struct
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.files import sync_folder
from fewshot.cache.checksums import CODES, block_rows, block_sums, key_sum, whole_sum


def write_segment(folder: Path, space: str, keys: NDArray[np.uint8], rows: NDArray[Any]) -> Path:
    """Commit keys ``[n, 16]`` and rows ``[n, D]``: written aside, flushed to disk, then renamed.

    Readers see all of it or nothing; a crash leaves at most a ``.tmp`` file. Names are unique, so writers
    never meet.
    """
    keys, rows = np.ascontiguousarray(keys), np.ascontiguousarray(rows)
    block = block_rows(len(keys), rows.shape[1] * rows.itemsize)
    digest = whole_sum(keys)  # versions without checksums of blocks read this one
    digest.update(rows.data)
    header = {
        "__metadata__": {"space": space, "n": str(len(keys)), "xxh3": digest.hexdigest(), "v": "1",
                         "host": platform.node(), "block": str(block), "key_sum": key_sum(keys.data),
                         "sums": block_sums(rows, block).astype(">u8").tobytes().hex()},
        "keys": {"dtype": "U8", "shape": list(keys.shape), "data_offsets": [0, keys.nbytes]},
        "rows": {"dtype": CODES[rows.dtype], "shape": list(rows.shape),
                 "data_offsets": [keys.nbytes, keys.nbytes + rows.nbytes]},
    }  # fmt: skip
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 64)  # rows start aligned
    name = f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    temporary, final = folder / f"{name}.tmp", folder / f"{name}.safetensors"
    try:
        with open(temporary, "xb", buffering=0) as file:
            for part in (struct.pack("<Q", len(head)) + head, keys.data, rows.data):
                _write_all(file, part)
            os.fsync(file.fileno())
        os.rename(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return final


def _write_all(file: Any, data: Any) -> None:
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += file.write(view[done:])
