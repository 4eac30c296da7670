"""SimpleShot: the nearest class mean of well-normalised features."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from episodes.episode import Episode
from fewshot.learners.prototypes import Prototypes
from fewshot.maths.outliers import cosine_distance_to_means
from fewshot.registry import spec_string
from fewshot.transforms import CL2N, L2, Pipeline, Transform

NORMALISATIONS: dict[str, list[type[Transform]]] = {"cl2n": [CL2N], "l2n": [L2], "un": []}


class SimpleShot(Pipeline):
    """Classifies by the nearest class mean after one of the paper's normalisations.

    ``"un"``: features as they are; ``"l2n"``: of length one; ``"cl2n"``: the mean of base data subtracted, then of
    length one. ``logits = -|q - p_n|²`` (up to ``|q|²``). It is the pipeline
    ``cl2n | prototypes`` (``l2 | prototypes``, ``prototypes``) under its own name.

    Args:
        normalisation: one of these. For ``"cl2n"``, ``fit(base)`` gives the mean; without it the mean of the
            support stands in.

    Raises:
        ValueError: an unknown normalisation.

    Reference: Wang, Chao, Weinberger, van der Maaten, "SimpleShot: revisiting nearest-neighbor classification
    for few-shot learning", 2019, arXiv:1911.04623.

    Example:
        >>> from episodes import EpisodeSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> sampler = EpisodeSampler(digits.labels, way=5, shot=5, query=15)
        >>> results = evaluate(["simpleshot"], digits, sampler, episodes=20)
        >>> round(results["simpleshot"].mean, 1)
        0.9
    """

    name: ClassVar[str] = "simpleshot"

    def __init__(self, normalisation: str = "cl2n") -> None:
        if normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation={normalisation!r}; it must be one of {', '.join(NORMALISATIONS)}.")
        super().__init__([transform() for transform in NORMALISATIONS[normalisation]], Prototypes())
        self.normalisation = normalisation

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The squared distance to the nearest class mean; without base data one minus the cosine with it.

        That is around zero: around the mean of the support, strangers would be stretched to length one.
        """
        first = next(iter(self._transforms()), None)
        if isinstance(first, CL2N) and not first.mean.numel():
            return cosine_distance_to_means(episode)
        return super().outlier_score(episode, logits)

    def hyperparameters(self) -> dict[str, Any]:
        """The normalisation."""
        return {"normalisation": self.normalisation}

    def __repr__(self) -> str:
        """The spec string."""
        return spec_string(self.name, self)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        mean = state_dict.pop(f"{prefix}centring.mean", None)  # its place in version 0.1
        if mean is not None and self.normalisation == "cl2n":
            state_dict[f"{prefix}transforms.0.mean"] = mean
        super()._load_from_state_dict(state_dict, prefix, *rest)
