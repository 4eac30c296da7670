"""MAML: an initialisation from which a few gradient steps learn a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.inner_loop import Descent, Params, Task, adapt, adapt_head, logits_of
from fewshot.maths.linalg import product
from fewshot.maths.strategy import STRATEGIES, choose_strategy
from fewshot.nets import make_net
from fewshot.nets.features import feature_count
from fewshot.nets.norm import TaskNorm, check_norms, statistics_from
from fewshot.renamed import renamed

PARTS = ("all", "head", "body")
_ORDER = "The head's rows are learned for the first, second, ... class, so the order of classes matters."
FAILURES = {"class_order_does_not_matter": _ORDER}
_WEIGHTS = "Gradient steps from random weights need not tell the classes apart."
_ROUNDING = "Gradient steps from random weights may leave where the loss is smooth, and there amplify rounding."
_UNTRAINED = {
    **dict.fromkeys(
        ("learns_separable_classes", "one_shot", "unequal_shots", "unlabelled_rows_are_accepted"), _WEIGHTS
    ),
    **dict.fromkeys(
        ("support_order_does_not_matter", "padding_is_ignored", "gradients_match_finite_differences"), _ROUNDING
    ),
}


class Network(nn.Module):
    """A body and a linear head, of the same precision and on the same device."""

    def __init__(self, body: nn.Module, dim: int, way: int) -> None:
        super().__init__()
        self.body = body
        like = next((value for value in body.parameters() if value.is_floating_point()), torch.empty(0))
        self.head = nn.Linear(dim, way, dtype=like.dtype, device=like.device)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits ``[B, *x] -> [B, N]``."""
        logits: Tensor = self.head(self.body(rows))
        return logits


State = dict[str, Tensor]  # adapted parameters [E, ...], and the support for statistics


class MAML(Learner):
    """Adapts a net to each episode by gradient steps from a meta-learned initialisation.

    ``θ_e = θ - lr ∇ CE(support_e; θ)``, `steps` times; ``logits = net(query; θ_e)``. In meta-training the derivative
    goes through the steps, to second order. At test time more steps, of another rate, may be taken than in training:
    fine-tuned MAML. The same class learns on pictures and on cached features.

    Where only the head adapts (or the net has no body), the gradient of softmax regression is written out and all
    episodes adapt in one product. Otherwise episodes go one after the other, or all at once under `vmap`, whichever
    suits net and device, and the former where `vmap` cannot run a layer.

    Args:
        net: the body: ``"conv4(norm='task')"``, ``"linear"`` for a linear classifier on features, or any module that
            turns items into features ``[B, *item_shape] -> [B, D]``. Its parameters that do not require gradients
            when the learner is made never adapt.
        way: classes N; fixed, as the head has N rows.
        item_shape: of one row: ``(1, 28, 28)``, or ``(640,)`` for features.
        steps: in meta-training.
        lr: of the inner loop.
        first_order: leave second derivatives out.
        parts: which parameters adapt: ``"all"``, ``"head"`` or ``"body"``.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.
        chunk: episodes at a time under `vmap`; it bounds memory.

    Raises:
        ValueError: an argument out of range, or a net with a norm that an inner loop cannot run.

    Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017,
    arXiv:1703.03400.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "maml(net='mlp(widths=(32,))', item_shape=(64,), lr=0.5)"
        >>> training = meta_train(learner, digits, sampler, steps=20, lr=0.01, progress=False)
        >>> round(evaluate({"maml": training.learner}, digits, sampler, episodes=20)["maml"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "maml"
    tolerance: ClassVar[float] = 1e-3
    expected_failures: ClassVar[Mapping[str, str]] = FAILURES
    untrained: ClassVar[Mapping[str, str]] = _UNTRAINED
    any_way: ClassVar[bool] = False  # whether the head is made of the episode, so that N need not be `way`

    @renamed(rate="lr", test_rate="test_lr")
    def __init__(
        self,
        net: str | nn.Module = "conv4(norm='task')",
        way: int = 5,
        item_shape: tuple[int, ...] = (1, 28, 28),
        steps: int = 5,
        lr: float = 0.1,
        first_order: bool = False,
        parts: str = "all",
        test_steps: int | None = None,
        test_lr: float | None = None,
        strategy: str = "auto",
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if parts not in PARTS or strategy not in STRATEGIES:
            raise ValueError(
                f"parts={parts!r}, strategy={strategy!r}; they must be one of {', '.join(PARTS)}, and of "
                f"{', '.join(STRATEGIES)}."
            )
        if way < 1 or steps < 0 or lr <= 0 or (test_steps or 0) < 0:
            raise ValueError(f"way={way}, steps={steps}, lr={lr}; way at least 1, steps at least 0, lr positive.")
        self.way, self.item_shape = way, tuple(item_shape)
        self.steps, self.lr, self.first_order, self.parts = steps, lr, first_order, parts
        self.test_steps, self.test_lr = test_steps, test_lr
        self.strategy, self.chunk = strategy, chunk
        self.inputs = "images" if len(self.item_shape) == 3 else "features"
        self._spec = net if isinstance(net, str) else None
        body = make_net(net, self.item_shape)
        check_norms(body, second_order=True)
        dim = int(body.dim) if isinstance(net, str) else feature_count(body, self.item_shape)  # type: ignore[arg-type]
        self.network = Network(body, dim, way)
        chosen = {"all": "", "head": "head.", "body": "body."}[parts]
        self._adapting = tuple(
            name for name, value in self.network.named_parameters() if name.startswith(chosen) and value.requires_grad
        )
        if steps and not self._adapting:
            raise ValueError(f"parts={parts!r}, but no parameter of {self._spec or type(body).__name__} can adapt.")

    @property
    def net(self) -> str | nn.Module:
        """The body, as it was given; a module is registered once, as part of `network`."""
        return self.network.body if self._spec is None else self._spec

    def adapt(self, support: Support) -> State:
        """The inner loop."""
        return self._adapted(support)[-1]

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Logits of the adapted nets."""
        support, one_hot, given = state["support"], state["one_hot"], query.dtype
        query = query.to(support.dtype)
        absent = one_hot.sum(1) == 0  # [E, N]
        if self._head_only():
            features = self._features(support, one_hot, query)
            weight, bias = state["head.weight"], state["head.bias"]
            logits = product(features.to(weight.dtype), weight.mT) + bias.unsqueeze(1)
        else:
            own = {name: value for name, value in state.items() if name not in ("support", "one_hot")}
            task = Task(support, one_hot, one_hot.sum(-1))
            logits = logits_of(self.network, self._shared(own), own, task, query, self._strategy(query), self.chunk)
        return logits.to(given).masked_fill(absent.unsqueeze(1), -torch.inf)

    def _adapted(self, episode: Support, trace: bool = False) -> list[State]:
        self._check_items(episode)
        dtype = self.network.head.weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        one_hot = episode.one_hot.to(wide)
        known = one_hot.sum(-1)
        shape = (*known.shape, *[1] * len(self.item_shape))
        support = torch.where(known.view(shape) > 0, episode.support, torch.zeros_like(episode.support)).to(dtype)
        context = {"support": support, "one_hot": one_hot}
        steps = self.steps if self.training or self.test_steps is None else self.test_steps
        own = self._start(support, one_hot)
        if self._head_only() and not trace:
            features = self._features(support, one_hot)
            weight, bias = self._head(own, len(support))
            rates = {part: lambda step, part=part: self._rate(f"head.{part}", step) for part in ("weight", "bias")}
            weight, bias = adapt_head(
                features.to(wide), one_hot, weight.to(wide), bias.to(wide), steps, rates, self._first_order()
            )
            return [({"head.weight": weight, "head.bias": bias, **context})]
        how = Descent(steps, self._rate, self._first_order(), self._adapting)
        task = Task(support, one_hot, known)
        found = adapt(self.network, self._shared(own), own, task, how, self._strategy(support), self.chunk, trace)
        return [({**part, **context}) for part in found]

    def _start(self, support: Tensor, one_hot: Tensor) -> Params:
        """Parameters with which each episode begins for itself ``[E, ...]``; the others are shared."""
        return {}

    def _rate(self, name: str, step: int) -> float | Tensor:
        if not self.training and self.test_lr is not None:
            return self.test_lr
        return self.lr

    def _first_order(self) -> bool:
        return self.first_order

    def _head_only(self) -> bool:
        return all(name.startswith("head.") for name in self._adapting)

    def _head(self, own: Params, count: int) -> tuple[Tensor, Tensor]:
        head = self.network.head
        weight = own.get("head.weight", head.weight.expand(count, -1, -1))
        return weight, own.get("head.bias", head.bias.expand(count, -1))

    def _features(self, support: Tensor, one_hot: Tensor, query: Tensor | None = None) -> Tensor:
        """What the body makes of the support ``[E, S, D]`` or of queries ``[E, Q, D]``, by the support's statistics."""
        weights, rows = one_hot.sum(-1), support if query is None else query  # [E, S]
        if query is not None and any(isinstance(part, TaskNorm) for part in self.network.modules()):
            rows = torch.cat([support, query], 1)
            weights = torch.cat([weights, weights.new_zeros(query.shape[:2])], 1)  # [E, S + Q]
        with statistics_from(weights):
            features: Tensor = self.network.body(rows.flatten(0, 1)).view(*rows.shape[:2], -1)
        return features if query is None else features[:, rows.shape[1] - query.shape[1] :]

    def _shared(self, own: Mapping[str, Tensor]) -> Params:
        return {name: value for name, value in self.network.named_parameters() if name not in own}

    def _strategy(self, rows: Tensor) -> str:
        twice = torch.is_grad_enabled() and not self._first_order()
        return choose_strategy(self.strategy, self.network, rows.device, twice)

    def _check_items(self, episode: Support) -> None:
        if (episode.way != self.way and not self.any_way) or tuple(episode.support.shape[2:]) != self.item_shape:
            raise ValueError(
                f"{self.name} was made for way={self.way} and items of {list(self.item_shape)}, but the episode has "
                f"way={episode.way} and items of {list(episode.support.shape[2:])}; set way= and item_shape=."
            )
