"""Reptile: move the initialisation towards what adaptation leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learners.maml_family.maml import FAILURES
from fewshot.learners.maml_family.variant import Variant


class Reptile(Variant):
    """`MAML` without a derivative through the inner loop: the meta-gradient is ``θ - θ_e``, averaged over episodes.

    In meta-training support and queries are learned from alike, as the paper has it; more inner steps are usual.

    Args:
        net: as for `MAML`, like all the others.
        way: classes N.
        item_shape: of one row.
        steps: in meta-training.
        lr: of the inner loop.
        test_steps: at test time; None: as in training.
        test_lr: at test time; None: as in training.
        strategy: ``"auto"``, ``"loop"`` or ``"vmap"``.

    Reference: Nichol, Achiam, Schulman, "On first-order meta-learning algorithms", 2018, arXiv:1803.02999.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> from fewshot import meta_train
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> learner = "reptile(net='mlp(widths=(64,))', item_shape=(64,), lr=0.5)"
        >>> training = meta_train(learner, digits, sampler, steps=40, lr=0.02, progress=False)
        >>> round(evaluate({"reptile": training.learner}, digits, sampler, episodes=20)["reptile"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "reptile"
    expected_failures: ClassVar[Mapping[str, str]] = {
        **FAILURES,
        "gradients_match_finite_differences": "First-order: by definition not the derivative of what is computed.",
    }

    fixed_order: ClassVar[bool] = True

    def meta_loss(self, episode: Episode, targets: Tensor) -> tuple[Tensor, Tensor]:
        """``½ mean_e |θ - θ_e|²``, whose gradient is Reptile's; and logits after adapting to the support."""
        everything = episode.replace(
            support=torch.cat([episode.support, episode.query], 1), labels=torch.cat([episode.labels, targets], 1)
        )
        with torch.no_grad():
            logits = self.predict(self.adapt(episode), episode.query)
            adapted = self._adapted(everything)[-1]
        total = episode.support.new_zeros(())
        for name, value in self.network.named_parameters():
            if name in adapted:
                total = total + 0.5 * (value - adapted[name]).square().flatten(1).sum(1).mean()
        return total, logits
