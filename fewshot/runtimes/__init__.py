"""Runtimes: how the processor at hand computes an encoder fastest without changing what its rows mean.

======================= ================================================ ========================================
``runtime=``            computed by                                      rows
======================= ================================================ ========================================
``"torch"``             torch; images with channels last, where a        float32; bfloat16 by ``precision="auto"``
                        network of convolutions gains by it
``"onnx"``              ONNX Runtime, on a CPU (``fewshot[onnx]``)       float32
``"compile"``           `torch.compile`, on any device that it knows     as torch's
``"auto"``              what pays and is measured faster: see
                        `fewshot.runtimes.choosing.fastest_forward`
======================= ================================================ ========================================

*Spaces.* Before a runtime is used, its rows of the control items of the cache are compared with torch's (see
`fewshot.runtimes.agreement`). Rows that differ by no more than half the spacing of the numbers that they are stored as
(float16: 1/2048 of the largest feature of a row) are rows of torch's space, and found there by either; others, such as
all in ``storage="float32"``, are in a space that names the runtime. Rows that differ by more than rounding are refused.
"""

from __future__ import annotations

from fewshot.runtimes.choosing import fastest_forward, forward_of, known_forward

__all__ = ["fastest_forward", "forward_of", "known_forward"]
