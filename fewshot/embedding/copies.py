"""Copies of an encoder for a forward pass: objects of their own, and weights laid out once for all batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fewshot.embedding.forward import Forward

_LOWERED = (nn.Linear, nn.Conv1d, nn.Conv2d)  # whose weights autocast converts anew in every forward pass
_copyable: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def is_copyable(encoder: Any, kind: str) -> bool:
    """Whether a copy of an encoder computes what the encoder does, whatever else happens to either.

    That is one whose class says so (`Encoder.copyable`), with a network for items of this kind, of which nothing was
    replaced and to which nothing is hooked, and whose objects can be copied: others may keep what copies should not
    share.

    Args:
        encoder: any that is its own `computed_by`.
        kind: ``"images"``, ``"texts"`` or ``"sounds"``.
    """
    known = vars(type(encoder)).get("copyable", False) and f"encode_{kind}" not in vars(encoder)
    if not known or encoder.pairs or encoder.module is None or not encoder.encodes(kind):
        return False
    if any(isinstance(part, torch.jit.ScriptModule) or _is_hooked(part) for part in encoder.module.modules()):
        return False
    if kind != "sounds" and encoder.graph(kind) is None:
        return False
    module = encoder.module
    if module not in _copyable:
        try:
            replica(module)
            _copyable[module] = True
        except Exception:  # a lock, a file, a generator among its attributes
            _copyable[module] = False
    return _copyable[module]


def replica(module: nn.Module) -> nn.Module:
    """A network with the same tensors and settings in objects of its own, in evaluation mode."""
    shared: dict[int, Any] = {}
    for part in module.modules():
        for value in (*vars(part).values(), *part._parameters.values(), *part._buffers.values()):
            if isinstance(value, Tensor) or not isinstance(value, (nn.Module, dict, list, set, tuple)):
                shared[id(value)] = value
    return copy.deepcopy(module, shared).eval()


def with_weights_laid_out(forward: Forward, kind: str, items: Callable[[], Any]) -> Forward:
    """The same forward pass on a CPU with weights laid out once, where that is of use and changes no bit.

    Args:
        forward: by torch; others are given back.
        kind: of the items.
        items: gives a few, as the encoder's input, on which both are compared.
    """
    gains = forward.precision != "float32" or forward.channels_last
    if (
        forward.device.type != "cpu"
        or forward.network is not None
        or not gains
        or not is_copyable(forward.encoder.computed_by, kind)
    ):
        return forward
    made = copy.copy(forward)
    made.worker = copy.copy(forward.worker)
    made.worker.module = laid_out(forward.worker.module, forward.precision, channels_last=forward.channels_last)
    few = items()
    same = torch.equal(made(few), forward(few)) and made.channels_last == forward.channels_last
    return made if same else forward


def laid_out(module: nn.Module, precision: str, *, channels_last: bool) -> nn.Module:
    """A replica whose weights are, once for all, what torch would make of them in every forward pass on a CPU.

    Those of layers that autocast converts are in the precision, and those of 2-d convolutions have their channels last
    where their input has. The features stay the same, bit by bit; other tensors are shared with the network.

    Args:
        module: the network.
        precision: ``"float32"``, or the one of autocast.
        channels_last: of its input.
    """
    copied = replica(module)
    dtype = getattr(torch, precision)
    for part in copied.modules():
        if type(part) not in _LOWERED:
            continue
        for name, tensor in list(part._parameters.items()):
            if tensor is None or tensor.dtype != torch.float32:
                continue
            last = channels_last and tensor.ndim == 4  # the weight of a 2-d convolution
            if precision == "float32" and not last:
                continue
            order = torch.channels_last if last else torch.preserve_format
            part._parameters[name] = nn.Parameter(tensor.detach().to(dtype, memory_format=order), requires_grad=False)
    return copied


def _is_hooked(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks)
