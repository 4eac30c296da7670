"""Checks of gradients: they reach what is trained, they are right, and prediction does not need them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fewshot.testing.trial import Skip, Trial

# Of finite differences in float64. A network has kinks (ReLU, max pooling), of which a shorter step crosses fewer.
_STEPS, _LOOSE, _ROUNDING = (1e-6, 1e-7, 1e-8, 1e-9), 1e-4, 1e-14


def gradients_reach_everything(trial: Trial) -> None:
    """Every parameter gets a finite gradient that is not zero; the support a finite one, where there is one."""
    parameters = {name: p for name, p in trial.learner.named_parameters() if p.requires_grad}
    episode = trial.episode.replace(support=trial.episode.support.clone().requires_grad_())
    with torch.enable_grad():
        logits = trial.logits(episode)
        if not logits.requires_grad:
            assert not parameters, "the graph is cut: logits do not depend on the parameters"
            raise Skip("not differentiable, and nothing to train")
        # Of a random sum: a loss may be zero, and its gradients with it, where classes lie this far apart.
        loss = (torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)) * logits).sum()
        inputs = {**parameters, "support": episode.support}
        gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    for name, gradient in zip(inputs, gradients, strict=True):
        if name == "support" and gradient is None:
            continue
        assert gradient is not None, f"no gradient reaches {name}"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert name == "support" or gradient.abs().max() > 0, f"the gradient of {name} is zero"


def gradients_match_finite_differences(trial: Trial) -> None:
    """The derivative along a random direction of each parameter, support, query and text, in float64.

    It finds what a finite gradient hides: a path that was cut, or a norm whose second derivative is wrong
    under `torch.func.vmap`. What all classes of a query share does not count, since softmax does not see it: a learner
    may measure from a centre of the support that stands outside the graph.
    """
    learner = copy.deepcopy(trial.learner).double()
    episode, _ = trial.make(dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    inputs: dict[str, Tensor] = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    for name in ("support", "query", "text"):
        if (rows := getattr(episode, name)) is not None:
            inputs[name] = rows.requires_grad_()
    with torch.enable_grad():
        logits = learner(episode)
        if not logits.requires_grad:
            raise Skip("not differentiable")
        weights = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
        weights = weights - weights.mean(-1, keepdim=True)
        gradients = torch.autograd.grad((weights * logits).sum(), list(inputs.values()), allow_unused=True)
    size = float((weights * logits.detach()).abs().sum())
    for (name, value), gradient in zip(inputs.items(), gradients, strict=True):
        if gradient is None:  # a solver may stand outside the graph as a whole, but not in part
            continue
        direction = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        computed, found = float((gradient * direction).sum()), []
        for step in _STEPS:
            differences = []
            with torch.no_grad():
                for signed in (step, -step):
                    value.add_(direction, alpha=signed)
                    differences.append(weights * learner(episode))
                    value.sub_(direction, alpha=signed)
            found.append(float((differences[0] - differences[1]).sum()) / (2 * step))
            if abs(found[-1] - computed) <= _LOOSE * max(abs(found[-1]), abs(computed)) + _ROUNDING / step * size:
                break
        else:
            raise AssertionError(
                f"the derivative along a direction of {name} is {computed:.6g}, finite differences give {found[0]:.6g}"
            )


def gradient_mode_does_not_matter(trial: Trial) -> None:
    """The same logits with gradients enabled as under `torch.no_grad`: an inner loop enables its own."""
    with torch.enable_grad():
        expected = trial.logits().detach()
    with torch.no_grad():
        trial.same(trial.logits(), expected, "under torch.no_grad")
