"""First-order MAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fewshot.learners.maml_family.maml import FAILURES
from fewshot.learners.maml_family.variant import Variant


class FOMAML(Variant):
    """`MAML` without second derivatives: a meta-step costs little more than its forward and backward passes.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017,
    arXiv:1703.03400.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "fomaml(net='mlp(widths=(64,))', item_shape=(64,), lr=0.3)"
        >>> training = meta_train(learner, digits, sampler, steps=40, lr=0.01, progress=False)
        >>> round(evaluate({"fomaml": training.learner}, digits, sampler, episodes=20)["fomaml"].mean, 1)
        0.8
    """

    name: ClassVar[str] = "fomaml"
    expected_failures: ClassVar[Mapping[str, str]] = {
        **FAILURES,
        "gradients_match_finite_differences": "First-order: by definition not the derivative of what is computed.",
    }
    fixed_order: ClassVar[bool] = True
