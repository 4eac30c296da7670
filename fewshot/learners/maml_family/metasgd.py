"""Meta-SGD: every parameter has a learned rate of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fewshot.learners.maml_family.maml import MAML
from fewshot.renamed import renamed


class MetaSGD(MAML):
    """`MAML` whose inner rates are parameters too, one for each weight, of either sign.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training; the paper takes one.
        lr: where all rates start.
        first_order: leave second derivatives out.
        test_steps: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Li, Zhou, Chen, Li, "Meta-SGD: learning to learn quickly for few-shot learning", 2017, arXiv:1707.09835.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "metasgd(net='mlp(widths=(32,))', item_shape=(64,), lr=1.0)"
        >>> training = meta_train(learner, digits, sampler, steps=40, lr=0.02, progress=False)
        >>> round(evaluate({"metasgd": training.learner}, digits, sampler, episodes=20)["metasgd"].mean, 1)
        0.8
    """

    name: ClassVar[str] = "metasgd"

    @renamed(rate="lr")
    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 1,
        lr: float = 0.1,
        first_order: bool = False,
        test_steps: int | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__(net, way, item_shape, steps, lr, first_order, test_steps=test_steps, strategy=strategy)
        # A dot may not stand in the name of a parameter.
        parameters = dict(self.network.named_parameters())
        names = [(name.replace(".", "/"), parameters[name]) for name in self._adapting]
        self.rates = nn.ParameterDict({name: nn.Parameter(torch.full_like(value, lr)) for name, value in names})

    def _rate(self, name: str, step: int) -> float | Tensor:
        return self.rates[name.replace(".", "/")]
