"""The inner loop of MAML and its variants: gradient steps on a net's parameters, for every episode by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from fewshot.maths.linalg import product
from fewshot.maths.strategy import all_at_once, differentiable, with_parameters
from fewshot.nets.norm import TaskNorm, statistics_from

Params = dict[str, Tensor]
Net = Callable[[Params, Tensor], Tensor]  # parameters and rows -> logits
_ABSENT = -1e9  # logit of a class that an episode does not have


class Descent(NamedTuple):
    """How the inner loop descends.

    Attributes:
        steps: how many.
        rate: of a parameter at a step: a number, or a tensor of the parameter's shape.
        first_order: gradients are taken for constants in the outer derivative.
        names: of the parameters that adapt.
    """

    steps: int
    rate: Callable[[str, int], float | Tensor]
    first_order: bool
    names: tuple[str, ...]


class Task(NamedTuple):
    """What one episode adapts to; with E in front, what a batch does."""

    rows: Tensor  # [S, *x]
    one_hot: Tensor  # [S, N], zeros for padding
    real: Tensor  # [S], 1 or 0


def adapt(
    net: nn.Module,
    shared: Params,
    own: Params,
    task: Task,
    how: Descent,
    strategy: str,
    chunk: int | None = None,
    trace: bool = False,
) -> list[Params]:
    """Adapted parameters of each episode ``[E, ...]``, after the last step; with `trace`, after every step.

    Args:
        net: rows -> logits, run by `functional_call`.
        shared: parameters with which all episodes begin.
        own: parameters with which each begins for itself ``[E, ...]``.
        task: of the batch.
        how: the descent.
        strategy: ``"loop"``, ``"vmap"``, or ``"auto"``: the second, and the first where it cannot run.
        chunk: episodes at a time under `vmap`; it bounds memory and changes nothing.
        trace: keep what every step leads to.

    Raises:
        ValueError: the strategy is ``"vmap"``, and it cannot run this net.
    """
    run, twice = with_parameters(net), torch.is_grad_enabled() and not how.first_order

    def one(own: Params, task: Task) -> tuple[Params, ...]:
        return tuple(_descend(run, {**shared, **own}, task, how, trace))

    with differentiable(net, twice):
        found = all_at_once(one, (own, task), net, strategy, chunk, twice)
        if found is not None:
            return list(found)
        tasks = zip(_apart(own, len(task.rows)), *(field.unbind() for field in task), strict=True)
        each = [_descend_alone(run, {**shared, **mine}, Task(*fields), how, trace) for mine, *fields in tasks]
    return [{name: torch.stack([parts[k][name] for parts in each]) for name in each[0][k]} for k in range(len(each[0]))]


def _apart(batch: Params, count: int) -> list[Params]:
    """Parameters of each episode; `unbind` gathers the gradients of all in one go, where indices would in E."""
    parts = {name: value.unbind() for name, value in batch.items()}
    return [{name: values[e] for name, values in parts.items()} for e in range(count)]


def _descend(run: Net, start: Params, task: Task, how: Descent, trace: bool) -> list[Params]:
    fixed = {name: value for name, value in start.items() if name not in how.names}
    moving = {name: start[name] for name in how.names}

    def loss(moving: Params) -> Tensor:
        with statistics_from(task.real.unsqueeze(0)):
            logits = run({**fixed, **moving}, task.rows)
        return cross_entropy(logits, task.one_hot)

    found = []
    for step in range(how.steps):
        gradients = grad(loss)(moving)
        if how.first_order:
            gradients = {name: value.detach() for name, value in gradients.items()}
        moving = {name: value - how.rate(name, step) * gradients[name] for name, value in moving.items()}
        if trace:
            found.append(moving)
    return found or [moving]


def _descend_alone(run: Net, start: Params, task: Task, how: Descent, trace: bool) -> list[Params]:
    """The same by `torch.autograd`, which is quicker for one episode and keeps no graph that is not needed."""
    outer = torch.is_grad_enabled()
    loss_of = _loss_of(task.one_hot)
    fixed = {name: value for name, value in start.items() if name not in how.names}
    with torch.enable_grad():
        # As nodes of their own: where one is made of others (a head of prototypes), each gets its partial derivative.
        moving = {}
        for name in how.names:
            value = start[name]
            moving[name] = value.view_as(value) if outer and value.requires_grad else _leaf(value)
        found = []
        for step in range(how.steps):
            with statistics_from(task.real.unsqueeze(0)):
                logits = run({**fixed, **moving}, task.rows)
            # A frozen head, say, gives some parameters nothing to do with the loss.
            gradients = torch.autograd.grad(
                loss_of(logits), list(moving.values()), create_graph=outer and not how.first_order, allow_unused=True
            )
            moving = {
                name: value if gradient is None else value - how.rate(name, step) * gradient
                for (name, value), gradient in zip(moving.items(), gradients, strict=True)
            }
            if not outer:
                moving = {name: _leaf(value) for name, value in moving.items()}
            if trace:
                found.append(moving)
    return found or [moving]


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def logits_of(
    net: nn.Module, shared: Params, own: Params, task: Task, query: Tensor, strategy: str, chunk: int | None = None
) -> Tensor:
    """Logits of the queries under each episode's parameters ``[E, Q, N]``.

    Where the net normalises by statistics of the task, they are those of the support, so a query's answer does not
    depend on the other queries.
    """
    by_task, run = any(isinstance(part, TaskNorm) for part in net.modules()), with_parameters(net)

    def one(own: Params, task: Task, query: Tensor) -> Tensor:
        if not by_task:
            return run({**shared, **own}, query)
        rows = torch.cat([task.rows, query])
        weights = torch.cat([task.real, torch.zeros_like(task.real[:1]).expand(len(query))])
        with statistics_from(weights.unsqueeze(0)):
            logits = run({**shared, **own}, rows)
        return logits[len(task.rows) :]

    answers: Tensor | None = all_at_once(one, (own, task, query), net, strategy, chunk, twice=False)
    if answers is not None:
        return answers
    tasks = zip(_apart(own, len(query)), query.unbind(), *(field.unbind() for field in task), strict=True)
    return torch.stack([one(mine, Task(*fields), rows) for mine, rows, *fields in tasks])


def cross_entropy(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Mean cross-entropy of labelled rows ``[..., S, N]``; classes without rows take no part."""
    absent = one_hot.sum(-2, keepdim=True) == 0
    likely = _full(logits).masked_fill(absent, _ABSENT).log_softmax(-1)
    return -(likely * one_hot).sum() / one_hot.sum().clamp(min=1)


def _loss_of(one_hot: Tensor) -> Callable[[Tensor], Tensor]:
    """`cross_entropy` of one episode in as few operations as its labels allow."""
    if not bool((one_hot.sum(0) > 0).all()):
        return lambda logits: cross_entropy(logits, one_hot)
    labels = torch.where(one_hot.sum(-1) > 0, one_hot.argmax(-1), -1)
    return lambda logits: F.cross_entropy(_full(logits), labels, ignore_index=-1)


def _full(logits: Tensor) -> Tensor:
    """Logits of a net in half precision in float32, in which their softmax is taken."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def adapt_head(
    rows: Tensor,
    one_hot: Tensor,
    weight: Tensor,
    bias: Tensor,
    steps: int,
    rates: Mapping[str, Callable[[int], Tensor | float]],
    first_order: bool,
) -> tuple[Tensor, Tensor]:
    """A linear head ``[E, N, D], [E, N]`` after gradient steps on frozen features, all episodes in one product.

    The gradient of softmax regression is written out, ``dW = (p - y)ᵀ X / S`` and ``db = Σ (p - y) / S``, so no graph
    is needed to adapt; the outer derivative goes through these formulas.

    Args:
        rows: features ``[E, S, D]``.
        one_hot: labels ``[E, S, N]``.
        weight: where each episode begins ``[E, N, D]``.
        bias: likewise ``[E, N]``.
        steps: how many.
        rates: of ``"weight"`` and ``"bias"``, by step.
        first_order: the steps are taken for constants in the outer derivative.
    """
    known = one_hot.sum(-1, keepdim=True)  # [E, S, 1]
    share = known / known.sum(1, keepdim=True).clamp(min=1)
    absent = one_hot.sum(1, keepdim=True) == 0  # [E, 1, N]
    for step in range(steps):
        logits = product(rows, weight.mT) + bias.unsqueeze(1)
        error = (logits.masked_fill(absent, _ABSENT).softmax(-1) - one_hot) * share  # [E, S, N]
        if first_order:
            error = error.detach()
        of_weight = product(error.mT, rows.detach() if first_order else rows)
        weight = weight - rates["weight"](step) * of_weight
        bias = bias - rates["bias"](step) * error.sum(1)
    return weight, bias
