"""An encoder is not saved over the one that it was made from."""

from __future__ import annotations

import os
from pathlib import Path


def refuse_own_folder(encoder: object, folder: str | os.PathLike[str]) -> None:
    """Refuse the folder of the encoder that training begins with: what is saved there refers to it.

    Args:
        encoder: its spec; a folder, ``tuned:FOLDER`` or ``pca:FOLDER``. Others have none.
        folder: where the result is to lie.

    Raises:
        ValueError: they are the same.
    """
    if not isinstance(encoder, (str, os.PathLike)):
        return
    place = Path(os.fspath(encoder).removeprefix("tuned:").removeprefix("pca:")).expanduser()
    if place.is_dir() and place.resolve() == Path(folder).expanduser().resolve():
        raise ValueError(
            f"{os.fspath(folder)!r} holds the encoder that training begins with, which the result refers to; take "
            "another folder."
        )
