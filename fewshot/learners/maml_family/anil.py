"""ANIL: only the head adapts."""

from __future__ import annotations

from typing import ClassVar

from fewshot.learners.maml_family.variant import Variant


class ANIL(Variant):
    """`MAML` whose body is trained but never adapts: almost no inner loop, all episodes in one product.

    The body's features feed a linear head, which takes gradient steps from its meta-learned initialisation.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Raghu, Raghu, Bengio, Vinyals, "Rapid learning or feature reuse? Towards understanding the effectiveness
    of MAML", ICLR 2020, arXiv:1909.09157.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "anil(net='mlp(widths=(32,))', item_shape=(64,), lr=0.5)"
        >>> training = meta_train(learner, digits, sampler, steps=20, lr=0.01, progress=False)
        >>> round(evaluate({"anil": training.learner}, digits, sampler, episodes=20)["anil"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "anil"
    fixed_parts: ClassVar[str] = "head"
