"""Proto-MAML: the head begins as prototypes, then everything takes gradient steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from fewshot.learners.maml_family.maml import MAML
from fewshot.maths.inner_loop import Params
from fewshot.maths.linalg import product
from fewshot.renamed import renamed


class ProtoMAML(MAML):
    """`MAML` whose head is made of each episode's class means: ``w_n = 2 p_n``, ``b_n = -|p_n|²``.

    Before the first step it is a prototypical network, so the order of the classes does not matter, and any number of
    ways will do.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        first_order: leave second derivatives out.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Triantafillou et al., "Meta-Dataset: a dataset of datasets for learning to learn from few examples",
    ICLR 2020, arXiv:1903.03096.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "proto-maml(net='mlp(widths=(32,))', item_shape=(64,), lr=0.01)"
        >>> training = meta_train(learner, digits, sampler, steps=10, lr=0.01, progress=False)
        >>> round(evaluate({"proto-maml": training.learner}, digits, sampler, episodes=20)["proto-maml"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "proto-maml"
    expected_failures: ClassVar[Mapping[str, str]] = {}
    any_way: ClassVar[bool] = True

    @renamed(rate="lr", test_rate="test_lr")
    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 3,
        lr: float = 0.01,
        first_order: bool = False,
        test_steps: int | None = None,
        test_lr: float | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__(
            net,
            way,
            item_shape,
            steps,
            lr,
            first_order,
            test_steps=test_steps,
            test_lr=test_lr,
            strategy=strategy,
        )
        # The head is made anew for each episode, so it has nothing to learn.
        self.network.head.weight.requires_grad_(False)
        self.network.head.bias.requires_grad_(False)

    def _start(self, support: Tensor, one_hot: Tensor) -> Params:
        features = self._features(support, one_hot).to(one_hot.dtype)  # [E, S, D]
        shots = one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
        prototypes = product(one_hot.mT, features) / shots.clamp(min=1)
        weight, bias = 2 * prototypes, -prototypes.square().sum(-1)
        return {"head.weight": weight.to(support.dtype), "head.bias": bias.to(support.dtype)}

    def _shared(self, own: Mapping[str, Tensor]) -> Params:
        return {name: value for name, value in super()._shared(own).items() if not name.startswith("head.")}
