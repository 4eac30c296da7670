"""Fine-tuning of a classifier on frozen features, by gradient descent."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Episode, Support
from fewshot.learner import Learner
from fewshot.maths.affinity import squared_distances
from fewshot.maths.descent import Descent
from fewshot.maths.experts import beside_means, check_before, sharpness_of_means, weigh_experts
from fewshot.maths.head_tuning import tune_linear, tune_prototypes
from fewshot.maths.held_out import folds_by_value, rows_where
from fewshot.maths.linalg import product
from fewshot.maths.outliers import cosine_distance_to_means, distance_to_means
from fewshot.maths.prototype_head import METRICS, PrototypeHead
from fewshot.maths.spread import AUTO, Spread, check_auto, spread_of_support
from fewshot.maths.transduction import SupportState, keep_support
from fewshot.renamed import renamed

_AUTO = {"linear": 3.0, "cosine": 0.1, "squared": 0.03, "euclidean": 0.03}  # chosen by benchmarks/defaults.py
_BEFORE = 0.1  # weight of class means before any example is held out; likewise
_SHARP = 0.5  # factor at which logits of a classifier that knows its examples suit others; likewise
_FOLDS = 3
_ENOUGH = 512  # held-out rows: two weights need no more


class FineTuneState(NamedTuple):
    """One vector per class, and what is added to its logit (zero, or ``-inf`` for an absent class)."""

    weight: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    spread: Spread  # by which rows are rescaled


class FineTune(Learner):
    """Tunes a classifier on the support by gradient descent, all episodes of a batch at once.

    With ``head="linear"``, the "Baseline" of the paper: ``logits = W q + b`` from zero. With a metric, one vector
    per class from the class means: ``"cosine"``: ``scale cos(q, w_n)``; ``"squared"``: ``-scale/2 |q - w_n|²``;
    ``"euclidean"``: ``-scale |q - w_n|``. Every step sees the whole support; gradients are written out.

    Where classes overlap much, as kinds of reviews do, W fits what single rows have in common by chance, and class
    means answer better, by 1.5 points. So with ``lr="auto"`` they are asked beside the linear head, ``logits = a (W q +
    b) / 2 - 10 c K / (K + 1) |q - p_n|² / r²`` for K rows a class of root mean square distance r from their mean. Rows
    are held out of both, a third of each class at a time until 512 are; the weights a and c are those under which they
    are likeliest, near to 1 and `means` where there are few (`weigh_experts`).

    Args:
        head: ``"linear"``, ``"cosine"``, ``"squared"`` or ``"euclidean"``.
        steps: of the optimiser.
        lr: of the optimiser; ``"auto"``: one that suits features of mean square 1, and rows are first brought to
            that, around the mean of the support, so that neither offset nor size of the features matters.
        optimizer: ``"sgd"`` (with momentum 0.9, as in the paper) or ``"adam"``, whose steps have the size of the rate
            however small a gradient is, so that rounding shows in features that say nothing.
        weight_decay: of the weights, added to the gradient.
        scale: factor on the logits of a metric.
        means: weight c of class means before any example has been held out; 0: they are not asked, and the logits are
            ``W q + b``. ``"auto"``: 0.1 for the linear head at the rate ``"auto"``, else 0.

    Raises:
        ValueError: an unknown name, an argument out of range, or class means beside a metric.

    The released code's setting: ``fine-tune(lr=0.01)``.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019,
    arXiv:1904.04232.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["fine-tune"], digits, sampler, episodes=20)
        >>> round(results["fine-tune"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "fine-tune"

    @renamed(rate="lr", optimiser="optimizer", decay="weight_decay")
    def __init__(
        self,
        head: str = "linear",
        steps: int = 100,
        lr: float | str = AUTO,
        optimizer: str = "sgd",
        weight_decay: float = 1e-3,
        scale: float = 10.0,
        means: float | str = AUTO,
    ) -> None:
        super().__init__()
        if head != "linear" and head not in METRICS:
            raise ValueError(f"head={head!r}; it must be one of linear, {', '.join(METRICS)}.")
        check_auto("lr", lr)
        check_before("means", means)
        if head != "linear" and means not in (0, AUTO):
            raise ValueError(f"means={means!r} with head={head!r}; class means stand beside head='linear', else 0.")
        if lr == AUTO and optimizer == "adam":
            raise ValueError("lr='auto' is a rate of SGD; with optimizer='adam' it must be a number, such as 0.001.")
        self.lr = lr
        self.head = head
        Descent(optimizer, steps, self._rate(), weight_decay).check()
        self.steps = steps
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.scale = scale
        self.means = means

    @torch.no_grad()
    def adapt(self, support: Support) -> FineTuneState:
        """Descend, and weigh what comes of it against class means."""
        spread = spread_of_support(support).where(self.lr == AUTO)
        support = support.replace(support=spread.rescale(support.support))
        known = keep_support(support)
        how = Descent(self.optimizer, self.steps, self._rate(), self.weight_decay)
        if self.head == "linear":
            weight, bias = tune_linear(known.support, known.one_hot, known.absent, how)
            if self._before():
                weight, bias = self._beside_means(support, known, weight, bias, how)
        else:
            weight = tune_prototypes(
                known.prototypes, known.support, known.one_hot, known.absent, self.head, self.scale, how
            )
            bias = weight.new_zeros(known.absent.shape)
        return FineTuneState(weight, bias.masked_fill(known.absent, -torch.inf), spread)

    def predict(self, state: FineTuneState, query: Tensor) -> Tensor:
        """Score the queries."""
        query = state.spread.rescale(query)
        if self.head == "linear":
            return product(query, state.weight.mT) + state.bias.unsqueeze(1)  # [E, Q, N]
        absent = state.bias == -torch.inf
        return PrototypeHead(self.head, self.scale, query, absent, state.weight).logits(state.weight)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean; of the cosine head one minus the cosine with it."""
        return cosine_distance_to_means(episode) if self.head == "cosine" else distance_to_means(episode)

    def _beside_means(
        self, support: Support, known: SupportState, weight: Tensor, bias: Tensor, how: Descent
    ) -> tuple[Tensor, Tensor]:
        """``a (W x + b) / 2 - c k |x - p_n|²`` as a linear function."""
        exact = torch.float32 if weight.device.type == "mps" else torch.float64
        square = spread_of_support(support).root.square()
        sharp = sharpness_of_means(support.shots, square)  # [E, 1, 1]
        fold = torch.where(support.labels >= 0, folds_by_value(support, _FOLDS), -1)  # [E, S]
        sizes = torch.stack([(fold == number).sum(1) for number in range(_FOLDS)], 1)  # [E, F]
        needed = sizes.cumsum(1) - sizes < _ENOUGH
        seen, asked = [weight.new_zeros(len(weight), 0, support.way, 2)], [known.one_hot[:, :0]]
        for number in range(_FOLDS if int(support.shots.max()) > 1 else 0):
            held = (fold == number) & needed[:, number].unsqueeze(1)
            if not held.any():
                continue
            out, rest = rows_where(support, held), rows_where(support, (fold != number) & (fold >= 0))
            left = keep_support(rest)
            tuned, moved = tune_linear(left.support, left.one_hot, left.absent, how)
            linear = product(out.support, tuned.mT) + moved.unsqueeze(1)  # [E, R, N]
            by_means = -sharp * squared_distances(out.support, left.prototypes)
            both = torch.stack([_SHARP * linear, by_means], -1)
            seen.append(both.masked_fill(left.absent.view(len(weight), 1, -1, 1), -torch.inf))
            asked.append(out.one_hot * ~left.absent.unsqueeze(1))
        logits, target = torch.cat(seen, 1).to(exact), torch.cat(asked, 1).to(exact)
        weights = weigh_experts(logits, target, (1.0, self._before())).to(weight)  # [E, 2]
        weight, bias = beside_means(
            _SHARP * weight, _SHARP * bias.unsqueeze(-1), known.prototypes, weights, sharp.to(weight)
        )
        return weight, bias.squeeze(-1)

    def _before(self) -> float:
        if not isinstance(self.means, str):
            return self.means
        return _BEFORE if self.head == "linear" and isinstance(self.lr, str) else 0.0

    def _rate(self) -> float:
        return _AUTO[self.head] if isinstance(self.lr, str) else self.lr
