"""Weights from a file or a hub: never a pickle that can run code, never a long wait without a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` file, or in a torch file that holds tensors only.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no state dict in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}; check the path after '@' or checkpoint=.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{str(path)!r} is not a readable safetensors file: {error}") from None
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as plain tensors ({type(error).__name__}); files that run code "
            "when loaded are refused. Save module.state_dict() with safetensors.torch.save_file."
        ) from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{str(path)!r} holds no state dict; save module.state_dict() in it.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict that must fit exactly; half-precision weights become the module's precision.

    Raises:
        ValueError: names or shapes differ; the message lists the first of them.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    surplus = [name for name in weights if name not in own]
    shapes = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    for problem, names in (("lacks", missing), ("has also", surplus), ("has other shapes:", shapes)):
        if names:
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ValueError(f"the checkpoint does not fit {what}: it {problem} {listed}. Check the model's name.")
    module.load_state_dict(dict(weights))


def require_network(url: str, what: str, instead: str) -> None:
    """Find out within seconds whether a download can work, where libraries would retry for minutes.

    Raises:
        ConnectionError: the host does not respond; the message says what to do `instead`.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise OSError("HF_HUB_OFFLINE is set")
        urlopen(Request(url, method="HEAD"), timeout=5).close()
    except HTTPError:
        return  # the host responds: the download itself finds out whether the file is there
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"the pretrained weights of {what} are not on this machine and {url} cannot be reached ({error}). {instead}"
        ) from None
