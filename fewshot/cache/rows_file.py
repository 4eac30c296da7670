"""Rows and keys of a space in a file for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fewshot.cache.errors import MissingRowsError
from fewshot.cache.space import Space


def write_rows(space: Space, path: Path) -> int:
    """Write keys and rows to ``.npy`` (keys beside it), ``.safetensors`` or ``.parquet``; returns how many rows.

    Raises:
        MissingRowsError: the space is empty.
        ValueError: another suffix.
        ImportError: ``.parquet`` without pyarrow.
    """
    if not len(space):
        raise MissingRowsError(f"space {space.id} is empty; there is nothing to export.")
    keys = np.unique(space.keys(), axis=0)
    rows = space.read(keys, dtype=getattr(torch, str(space.storage))).numpy()
    if path.suffix == ".npy":
        np.save(path, rows)
        np.save(path.with_suffix(".keys.npy"), keys)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({"keys": keys, "rows": rows}, path, metadata={"space": space.id})
    elif path.suffix == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ImportError("exporting to parquet needs pyarrow: pip install pyarrow") from error
        column = pyarrow.FixedSizeListArray.from_arrays(rows.reshape(-1), space.dim)
        names = [bytes(key).hex() for key in keys]
        pyarrow.parquet.write_table(pyarrow.table({"key": names, "row": column}), path)
    else:
        raise ValueError(f"cannot export to {path.name!r}; use .npy, .safetensors or .parquet.")
    return len(keys)
