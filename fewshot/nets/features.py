"""How many features a network makes of an item."""

from __future__ import annotations

import torch
from torch import nn


def feature_count(net: nn.Module, item_shape: tuple[int, ...]) -> int:
    """D of a network ``[B, *item_shape] -> [B, D]``, found by two rows of zeros.

    The rows are of the network's precision, on its device; it is in evaluation mode meanwhile. A network that cannot
    take zeros is believed to make as many features as its attribute ``dim`` says.

    Raises:
        ValueError: the network cannot take such rows, or makes something else of them.
    """
    like = next((value for value in net.parameters() if value.is_floating_point()), torch.empty(0))
    name, modes = type(net).__name__, {part: part.training for part in net.modules()}
    try:
        with torch.no_grad():
            found = net.eval()(torch.zeros(2, *item_shape, dtype=like.dtype, device=like.device))
    except Exception as error:  # whatever the layers of others raise
        if isinstance(dim := getattr(net, "dim", None), int):
            return dim
        raise ValueError(
            f"{name} cannot take rows [2, {', '.join(map(str, item_shape))}]: {error}. Set item_shape= to the shape of "
            "one item, or change the net."
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 2:
        what = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ValueError(
            f"{name} makes {what} of 2 rows of {list(item_shape)}; it must make features [2, D]: a net of maps ends "
            "with a mean over pixels and torch.nn.Flatten()."
        )
    return int(found.shape[1])
