"""Class vectors tuned to support labels and to the mutual information of queries and their predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.maths.adam import Adam
from fewshot.maths.prototype_head import PrototypeHead, cross_entropy_terms, through_softmax
from fewshot.maths.transduction import SupportState, rescaled

_TINY = 1e-12  # added to a probability before its logarithm


@torch.no_grad()
def tune(
    state: SupportState,
    query: Tensor,
    *,
    metric: str,
    scale: float,
    weights: tuple[float, float, float],
    alpha: Tensor | None,
    steps: int,
    lr: float,
    relative: bool = False,
) -> Tensor:
    """Logits of the queries ``[E, Q, N]`` after a descent from the class means.

    Adam minimises ``a CE(support) - b H(mean_q p_q) + c mean_q H(p_q)``.

    Args:
        state: the support.
        query: rows ``[E, Q, D]``.
        metric: of `PrototypeHead`.
        scale: factor on its logits.
        weights: a, b and c.
        alpha: order of the Tsallis entropy ``H(p) = (1 - Σ p^alpha) / (alpha - 1)`` of each episode ``[E, 1, 1]``;
            None: Shannon's.
        steps: of Adam.
        lr: of Adam.
        relative: bring rows to mean square 1 around the mean of the support first.
    """
    dtype = query.dtype
    if relative:
        # Adam's steps do not shrink with the gradient, so that they would follow its rounding where it is done.
        exact = torch.float32 if query.device.type == "mps" else torch.float64
        support, one_hot, prototypes = (part.to(exact) for part in (state.support, state.one_hot, state.prototypes))
        state = state._replace(support=support, one_hot=one_hot, prototypes=prototypes)
        state, query = rescaled(state, query.to(exact))
        alpha = None if alpha is None else alpha.to(exact)
    a, b, c = weights
    shown = query.shape[1]
    weight = state.prototypes.clone()
    # One head for both kinds of rows: half the passes over the class vectors.
    head = PrototypeHead(metric, scale, torch.cat([query, state.support], 1) if a else query, state.absent, weight)
    terms, shares = (a * part for part in cross_entropy_terms(state.one_hot))
    adam = Adam(weight, lr)
    for _ in range(steps):
        scored = head.score(weight)
        p = scored.logits.softmax(1)  # [E, N, Q + S]
        error = torch.zeros_like(p)
        if b or c:
            q = p[..., :shown]
            inner = (c / shown) * entropy_gradient(q, alpha)
            if b:
                inner -= (b / shown) * entropy_gradient(q.mean(-1, keepdim=True), alpha)
            error[..., :shown] = through_softmax(q, inner)
        if a:
            torch.addcmul(terms, p[..., shown:], shares, out=error[..., shown:])
        adam.step(weight, head.gradient(weight, error, scored))
    return head.logits(weight)[:, :shown].to(dtype)


def entropy_gradient(probabilities: Tensor, alpha: Tensor | None) -> Tensor:
    """Gradient of Shannon's (None) or Tsallis's entropy with respect to the probabilities, up to a constant.

    What is the same for all classes does not pass a softmax.
    """
    if alpha is None:
        return -(probabilities + _TINY).log()
    return -alpha / (alpha - 1) * probabilities.pow(alpha - 1)
