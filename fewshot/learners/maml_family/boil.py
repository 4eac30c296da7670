"""BOIL: only the body adapts."""

from __future__ import annotations

from typing import ClassVar

from fewshot.learners.maml_family.variant import Variant


class BOIL(Variant):
    """`MAML` whose head stays where meta-training put it, so that the body has to change its features.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Oh, Yoo, Kim, Yun, "BOIL: towards representation change for few-shot learning", ICLR 2021,
    arXiv:2008.08882.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "boil(net='mlp(widths=(32,))', item_shape=(64,), lr=0.5)"
        >>> training = meta_train(learner, digits, sampler, steps=30, lr=0.01, progress=False)
        >>> round(evaluate({"boil": training.learner}, digits, sampler, episodes=20)["boil"].mean, 1)
        0.8
    """

    name: ClassVar[str] = "boil"
    fixed_parts: ClassVar[str] = "body"
