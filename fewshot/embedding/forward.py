"""The forward pass: in a precision, in memory that may be too small, in batches whose size is found on the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fewshot.encoders.preprocess import is_plain

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_FIRST = {"cpu": 2, "cuda": 64}  # on a CPU small batches keep a layer's output in its caches
_FIRST_TEXTS = 16  # a text is smaller than a picture, so calling the layers and the tokenizer counts for more
_LARGEST = {"cpu": 256, "cuda": 4096}
_LARGE = 2_000_000  # parameters
_convolutional: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_TRIALS = 3  # batches of each size, of which the fastest counts: the others met decoding threads or a cold cache
_GAIN = 1.05  # a larger batch must be this much faster, or it is only more memory and more padding


def is_large(module: nn.Module | None) -> bool:
    """Whether a network is large enough for the time of its products to exceed that of calling them."""
    return module is not None and sum(p.numel() for p in module.parameters()) >= _LARGE


def gains_by_channels_last(module: nn.Module | None) -> bool:
    """Whether images are better given with their channels last in memory: most weights are of 2-d convolutions."""
    if module is None:
        return False
    if module not in _convolutional:  # its modules are counted once: that takes as long as a small picture
        convolved = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Conv2d))
        most = 2 * convolved > sum(p.numel() for p in module.parameters())
        _convolutional[module] = most and is_large(module)
    return _convolutional[module]


def choose_precision(precision: str, device: torch.device) -> str:
    """``"auto"``: bfloat16 on a GPU that has it, float16 on an older one, float32 elsewhere.

    On a CPU `fewshot.runtimes` may choose bfloat16 afterwards, by looking at the encoder.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"  # Ampere or later


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Inference in a precision; ``"float32"`` means it, so TensorFloat-32 is off meanwhile."""
    with torch.inference_mode():
        if precision != "float32":
            with torch.autocast(device.type, getattr(torch, precision)):
                yield
        elif device.type == "cuda":
            with _no_tensor_float32():
                yield
        else:
            yield


@contextmanager
def _no_tensor_float32() -> Iterator[None]:
    products: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    switches: list[tuple[Any, str, Any]] = [(products, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    if hasattr(products, "fp32_precision"):  # newer torch, which refuses to mix both kinds of switches
        switches = [(part, "fp32_precision", "ieee") for part in (products, cudnn.conv, cudnn.rnn)]
    before = [getattr(part, name) for part, name, _ in switches]
    for part, name, value in switches:
        setattr(part, name, value)
    try:
        yield
    finally:
        for (part, name, _), value in zip(switches, before, strict=True):
            setattr(part, name, value)


class Forward:
    """Features of a batch, in parts where the whole does not fit into memory.

    Args:
        encoder: on `device` already.
        device: where it computes.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        dtype: of the features that come out.
        network: what computes the encoder's network in torch's place (`fewshot.runtimes.network.Network`), or None.
        decoder: of JPEGs on the device (`fewshot.encoders.device_decoding.DeviceDecoder`); None: Pillow.
    """

    def __init__(
        self,
        encoder: Any,
        device: torch.device,
        precision: str,
        dtype: torch.dtype,
        network: Any = None,
        decoder: Any = None,
    ) -> None:
        self.encoder, self.device, self.precision, self.dtype = encoder, device, precision, dtype
        self.network, self.decoder = network, decoder
        self.worker = encoder.computed_by  # what computes, or a copy that computes the same
        self.channels_last = device.type == "cpu" and self.runtime != "onnx" and gains_by_channels_last(encoder.module)
        self.limit: int | None = None  # the largest batch that may still fit, once one did not
        self._fingerprint: dict[str, Any] | None = None

    def like(self, *, precision: str | None = None, network: Any = None) -> Forward:
        """The same encoder, as it was found to be, in another precision or by another runtime."""
        made = Forward(self.encoder, self.device, precision or self.precision, self.dtype, network, self.decoder)
        made._fingerprint = self._fingerprint
        return made

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The encoder's, read once: a forward pass is made anew wherever rows are asked for, and then left.

        Raises:
            fewshot.cache.UnfingerprintableError: something has no identity that holds across processes.
        """
        if self._fingerprint is None:
            self._fingerprint = self.encoder.fingerprint
        return self._fingerprint

    @property
    def runtime(self) -> str:
        """``"torch"``, ``"compile"`` or ``"onnx"``."""
        return "torch" if self.network is None else str(self.network.name)

    def __call__(self, batch: Tensor | Sequence[Any]) -> Tensor:
        """Features ``[B, D]`` on the device, in memory of their own.

        Raises:
            MemoryError: a single item does not fit.
            ValueError: the encoder did not give one vector per item.
        """
        size = min(len(batch), self.limit or len(batch))
        try:
            parts = [self._forward(batch[first : first + size]) for first in range(0, len(batch), size)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(
                    f"one item does not fit into the memory of {self.device} with {self.encoder.name!r}; use "
                    "another device, a lower precision or a smaller encoder."
                ) from error
            parts = []
        if not parts:  # outside the except clause: the traceback would hold on to the memory
            self.limit = size // 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return self(batch)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _forward(self, batch: Tensor | Sequence[Any]) -> Tensor:
        encoder = self.worker if self.network is None else self.network.encoder
        with computing(self.device, self.precision):
            try:
                if isinstance(batch, Tensor):
                    rows = encoder.encode_images(self.prepared(batch.to(self.device)))
                elif isinstance(batch[0], Tensor):
                    rows = encoder.encode_sounds([wave.to(self.device) for wave in batch])
                else:
                    rows = encoder.encode_texts(list(batch))
            except RuntimeError as error:
                if out_of_memory(error) or not isinstance(batch, Tensor):
                    raise
                if self.channels_last:  # a network may rely on channels being first, by `view` for one
                    self.channels_last = False
                    return self._forward(batch)
                raise RuntimeError(
                    f"{self.encoder.name!r} cannot encode a batch {list(batch.shape)} of {batch.dtype}: {error}. "
                    "Images must have the size and the channels that it takes; a transform can make them so."
                ) from error
            if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(batch):
                shape = list(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
                raise ValueError(
                    f"{self.encoder.name!r} gave {shape} for {len(batch)} items; it must give [B, D] "
                    f"with B = {len(batch)}."
                )
            return rows.to(self.dtype, copy=True)  # a copy: the input's buffer is filled again at once

    def prepared(self, batch: Tensor) -> Tensor:
        """Pixels normalised, and in the order in memory that the network is fastest with."""
        transform = self.encoder.transform
        if batch.dtype == torch.uint8 and is_plain(transform):
            batch = transform.normalised(batch, channels_last=self.channels_last)
        elif self.channels_last and batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch


class BatchSize:
    """The size of the next batch: fixed, or doubled for as long as that makes an item cheaper.

    The search computes nothing but the work that is to be done anyway. It ends at the first size that gains
    less than 5 %, or that does not fit into memory.

    Args:
        fixed: a size that is never changed, or None to search.
        device: whose first and largest size apply.
        texts: whether the items are texts, of which the first batch is larger.

    Attributes:
        size: of the next batch.
        searching: whether `note` needs the times of batches.
    """

    def __init__(self, fixed: int | None, device: torch.device, *, texts: bool = False) -> None:
        kind = device.type if device.type in _FIRST else "cuda"
        self.size = fixed or (max(_FIRST[kind], _FIRST_TEXTS) if texts else _FIRST[kind])
        self.searching = fixed is None
        self._largest = _LARGEST[kind]
        self._best, self._best_time = self.size, float("inf")
        self._times: list[float] = []

    def note(self, items: int, cost: float, seconds: float) -> None:
        """A batch of so many items took this long; its cost is in any unit that a fair comparison needs.

        Items that differ (texts, sorted by length) are compared by what they cost, not by their number.
        """
        if not self.searching or items != self.size:  # decoded ahead at another size, or the last of the work
            return
        self._times.append(seconds / cost)
        if len(self._times) < _TRIALS:
            return
        fastest, self._times = min(self._times), []
        if fastest * _GAIN <= self._best_time:
            self._best, self._best_time = self.size, fastest
            self.size = min(2 * self.size, self._largest)
            self.searching = self.size != self._best
        else:
            self.settle()

    def settle(self, limit: int | None = None) -> None:
        """End the search at the best size so far, or at a limit that memory has set."""
        self.size = self._best if self.searching else self.size
        if limit is not None:
            self.size = min(self.size, limit)
        self.searching = False


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return any(words in said for words in ("out of memory", "can't allocate memory", "failed to allocate memory"))
