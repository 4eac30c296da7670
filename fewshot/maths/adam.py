"""Adam, elementwise, on a plain tensor: each episode of a batch is optimised as if it were alone."""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """The state of one optimisation: moments of a parameter's gradient.

    Args:
        like: the parameter.
        rate: step size.
        betas: decay of the two moments.
        epsilon: added to the root of the second.

    Reference: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
    """

    def __init__(
        self, like: Tensor, rate: float, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8
    ) -> None:
        self.rate, self.betas, self.epsilon = rate, betas, epsilon
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.steps = 0
        # One pass over memory in place of six, by the kernel of ``torch.optim.Adam(fused=True)``.
        self.fused = (
            hasattr(torch, "_fused_adam_")
            and like.device.type == "cpu"
            and like.dtype in (torch.float32, torch.float64)
            and like.is_contiguous()
        )

    def step(self, parameter: Tensor, gradient: Tensor, rate: float | None = None) -> Tensor:
        """The parameter after one step, changed in place."""
        self.steps += 1
        one, two = self.betas
        if self.fused and gradient.is_contiguous() and gradient.dtype == parameter.dtype:
            torch._fused_adam_(
                [parameter], [gradient], [self.first], [self.second], [], [torch.tensor(float(self.steps))],
                lr=self.rate if rate is None else rate, beta1=one, beta2=two, weight_decay=0.0, eps=self.epsilon,
                amsgrad=False, maximize=False,
            )  # fmt: skip
            return parameter
        self.first.lerp_(gradient, 1 - one)
        self.second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        size = (1 - two**self.steps) ** 0.5  # of the second moment's root before it is corrected
        rate = (self.rate if rate is None else rate) * size / (1 - one**self.steps)
        return parameter.addcdiv_(self.first, self.second.sqrt().add_(self.epsilon * size), value=-rate)
