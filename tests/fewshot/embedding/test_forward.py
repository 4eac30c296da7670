"""`Forward`: the precision that was asked for, and batches halved where memory is too small."""

from __future__ import annotations

import pytest
import torch
from embedding_examples import Net, encoder
from torch import Tensor

from fewshot import embed
from fewshot.embedding.forward import Forward, computing
from fewshot.encoders import ModuleEncoder


def test_float32_on_a_gpu_is_float32() -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    with computing(torch.device("cuda"), "float32"):  # only sets switches, so it needs no GPU
        assert not torch.backends.cuda.matmul.allow_tf32
        if hasattr(torch.backends.cudnn, "conv"):
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert [switch.allow_tf32 for switch in switches] == before


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_the_batch_is_halved_where_memory_is_too_small(error: Exception) -> None:
    class Narrow(Net):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 3:
                raise error
            return super().forward(images)

    model = ModuleEncoder(Narrow())
    images = torch.rand(40, 3, 8, 8)
    forward = Forward(model, torch.device("cpu"), "float32", torch.float32)
    parts = torch.cat([model.encode_images(part).detach() for part in images[:16].split(2)])
    torch.testing.assert_close(forward(images[:16]), parts, rtol=1e-4, atol=1e-5)
    assert forward.limit == 2
    source = embed(images, model, cache=False, batch_size=16)
    assert len(source) == 40


def test_one_item_that_does_not_fit_is_an_error() -> None:
    class Full(Net):
        def forward(self, images: Tensor) -> Tensor:
            raise MemoryError

    forward = Forward(ModuleEncoder(Full()), torch.device("cpu"), "float32", torch.float32)
    with pytest.raises(MemoryError, match=r"one item does not fit"):
        forward(torch.rand(4, 3, 8, 8))


def test_other_errors_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match=r"channels"):
        embed(torch.rand(4, 2, 8, 8), encoder(transform=None), cache=False)
