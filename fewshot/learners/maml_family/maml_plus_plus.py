"""MAML++: a learned rate per layer and step, and a loss after every step."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.episode import Episode
from fewshot.learners.maml_family.maml import MAML
from fewshot.renamed import renamed


class MAMLPlusPlus(MAML):
    """`MAML` with the remedies that make it train steadily.

    - a learned inner rate for each layer and step;
    - the meta-loss is a weighted sum of the queries' losses after every inner step; over the first `multi_step` share
      of training the weights move from even to the last step alone;
    - first-order derivatives for the first `first_order_until` share of training, second-order ones afterwards;
    - use it with ``meta_train(..., schedule="cosine")``.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training; at test time steps beyond these take the rate of the last.
        lr: where all rates start.
        multi_step: share of training over which the multi-step loss fades.
        first_order_until: share of training with first-order derivatives.
        test_steps: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Antoniou, Edwards, Storkey, "How to train your MAML", ICLR 2019, arXiv:1810.09502.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "maml++(net='mlp(widths=(32,))', item_shape=(64,), lr=0.5)"
        >>> training = meta_train(learner, digits, sampler, steps=20, lr=0.01, progress=False)
        >>> round(evaluate({"maml++": training.learner}, digits, sampler, episodes=20)["maml++"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "maml++"
    share_done = 1.0  # set by meta_train while a step lasts

    @renamed(rate="lr")
    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 5,
        lr: float = 0.1,
        multi_step: float = 0.15,
        first_order_until: float = 0.0,
        test_steps: int | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__(net, way, item_shape, steps, lr, test_steps=test_steps, strategy=strategy)
        self.multi_step, self.first_order_until = multi_step, first_order_until
        names = [name.replace(".", "/") for name in self._adapting]
        self.rates = nn.ParameterDict({name: nn.Parameter(torch.full((max(1, steps),), lr)) for name in names})

    def meta_loss(self, episode: Episode, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted losses of all steps, and the logits of the last."""
        states = self._adapted(episode, trace=True)
        fade = min(1.0, self.share_done / self.multi_step) if self.multi_step else 1.0
        total = episode.support.new_zeros(())
        for number, state in enumerate(states):
            last = number == len(states) - 1
            weight = (1 - fade) / len(states) + (fade if last else 0.0)
            if weight > 0:
                logits = self.predict(state, episode.query)
                total = total + weight * F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
        return total, logits

    def _rate(self, name: str, step: int) -> float | Tensor:
        return self.rates[name.replace(".", "/")][min(step, max(1, self.steps) - 1)]

    def _first_order(self) -> bool:
        return self.training and self.share_done < self.first_order_until

    def _head_only(self) -> bool:
        return False
