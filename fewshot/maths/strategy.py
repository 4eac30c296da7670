"""How a batch of episodes is run through a net whose parameters differ: in a loop, or all at once under `vmap`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

STRATEGIES = ("auto", "loop", "vmap")
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
_WRONG = (F.layer_norm, F.batch_norm, F.instance_norm)  # their second derivatives under vmap are wrong, silently


def choose_strategy(strategy: str, net: nn.Module, device: torch.device, twice: bool) -> str:
    """``"auto"``: one episode after the other where it is quicker or nothing else will do, else all at once.

    Under `vmap` each episode has its own filters, and convolutions become grouped ones: on a CPU two to four times
    slower than a loop. It cannot run recurrent layers and active dropout, runs attention in evaluation mode one by
    one, and its second derivatives of a layer norm are wrong (by some per cent). What else it cannot run is found out
    by trying: the answer ``"auto"`` stands for `vmap` where it runs, and the loop where it does not.

    Args:
        strategy: of `STRATEGIES`.
        net: which is to be run.
        device: where it is.
        twice: whether second derivatives will be taken.

    Raises:
        ValueError: `vmap` is required, and its derivatives would be wrong.
    """
    for name, part in net.named_modules() if strategy != "loop" else ():
        if isinstance(part, nn.LayerNorm) and part.elementwise_affine and twice:
            if strategy == "vmap":
                raise ValueError(
                    f"{name or 'the net'} is a {type(part).__name__}, whose second derivatives under vmap are wrong; "
                    "use strategy='loop' or 'auto', or first_order=True."
                )
            return "loop"
        slow = isinstance(part, nn.modules.conv._ConvNd) and device.type == "cpu"
        draws = isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0
        if strategy == "auto" and (slow or draws or isinstance(part, (nn.RNNBase, nn.MultiheadAttention))):
            return "loop"
    return strategy


def all_at_once(
    one: Callable[..., Any], batch: tuple[Any, ...], net: nn.Module, strategy: str, chunk: int | None, twice: bool
) -> Any:
    """A function of one episode over all episodes by `vmap`; None where the loop is to do it.

    Raises:
        ValueError: the strategy is ``"vmap"``, and it cannot run this net.
    """
    if strategy == "loop":
        return None
    try:
        with ExitStack() as ways:
            ways.enter_context(sdpa_kernel(SDPBackend.MATH))  # fused attention runs one by one under vmap
            if twice and any(not type(part).__module__.startswith(("torch.nn.", "fewshot.")) for part in net.modules()):
                ways.enter_context(_Refusing())
            return vmap(one, chunk_size=chunk)(*batch)
    except OutOfMemory:
        raise
    except RuntimeError as error:
        if strategy == "auto":
            return None
        reason = str(error).partition("\n")[0]
        raise ValueError(f"vmap cannot run this net ({reason}); use strategy='loop' or 'auto'.") from error


class _Refusing(TorchFunctionMode):
    """Notices functions with wrong derivatives that modules of others call themselves."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WRONG:
            raise RuntimeError(f"the second derivatives of {func.__name__} under vmap are wrong")
        return func(*args, **(kwargs or {}))


@contextmanager
def differentiable(net: nn.Module, twice: bool) -> Iterator[None]:
    """Meanwhile layers run in the way that has the derivatives which an inner loop takes.

    cuDNN's recurrent layers have none in evaluation mode, and no second ones; nor has fused attention.
    """
    with ExitStack() as ways:
        if any(isinstance(part, nn.RNNBase) for part in net.modules()):
            ways.enter_context(torch.backends.cudnn.flags(enabled=False))
        if twice:
            ways.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def with_parameters(net: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """``(parameters by name, rows) -> net(rows)`` with these; whatever several names share is replaced everywhere.

    `functional_call` by itself leaves a module that stands under two names with the parameters of the call.
    """
    names: dict[int, list[str]] = {}
    for place, part in net.named_modules():  # each module once
        for name, value in part.named_parameters(recurse=False):
            names.setdefault(id(value), []).append(f"{place}.{name}" if place else name)
    shared = [found for found in names.values() if len(found) > 1]

    def call(parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        more = {other: parameters[first] for first, *others in shared if first in parameters for other in others}
        made: Tensor = functional_call(net, {**parameters, **more}, (rows,), tie_weights=False)
        return made

    return call
