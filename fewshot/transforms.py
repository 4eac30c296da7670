"""Transforms of features, put in front of any learner: ``"l2 | prototypes"``, ``"cl2n | ridge"``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from episodes.source import Source, TensorSource
from fewshot.learner import Learner, State
from fewshot.maths.linalg import normalize, product
from fewshot.maths.spread import spread_of_support
from fewshot.registry import Registry, argument_names, build, parse_spec, spec_string

ENTRIES = {
    "l2": "fewshot.transforms:L2",
    "centre": "fewshot.transforms:Centre",
    "power": "fewshot.transforms:Power",
    "rescale": "fewshot.transforms:Rescale",
    "standardise": "fewshot.transforms:Standardise",
    "whiten": "fewshot.transforms:Whiten",
    "cl2n": "fewshot.transforms:CL2N",
    "coral": "fewshot.adaptation.statistics:CORAL",
    "domain-centre": "fewshot.adaptation.statistics:DomainCentre",
    "domain-standardise": "fewshot.adaptation.statistics:DomainStandardise",
    "subspace-alignment": "fewshot.adaptation.subspace:SubspaceAlignment",
    "tca": "fewshot.adaptation.components:TCA",
    "jda": "fewshot.adaptation.components:JDA",
    "optimal-transport": "fewshot.adaptation.optimal_transport:OptimalTransport",
    "kmm": "fewshot.adaptation.kernel_mean_matching:KernelMeanMatching",
    "density-ratio": "fewshot.adaptation.density_ratio:DensityRatio",
    "kliep": "fewshot.adaptation.density_ratio:KLIEP",
    "pseudo-labels": "fewshot.adaptation.pseudo_labels:PseudoLabels",
    "prototype-alignment": "fewshot.adaptation.pseudo_labels:PrototypeAlignment",
    "backbone": "fewshot.transfer.backbone:BackboneFront",
    "conv4": "fewshot.nets.front:Conv4Front",
    "mlp": "fewshot.nets.front:MLPFront",
    "resnet12": "fewshot.nets.front:ResNet12Front",
}
TRANSFORMS = Registry("transform", ENTRIES, "fewshot.transforms")
_ROWS = 65_536  # rows of the base data read at a time


class Transform(nn.Module):
    """Maps the rows of an episode, by statistics of its support (or of base data).

    Class attributes:
        name: its name in spec strings.
        applies_to_text: whether class text is mapped too. Statistics of images say nothing about text.
        removes: what of all rows of an episode it takes away, so that no learner behind it sees it: ``"offset"`` or
            ``"scale"``, as in `Learner.invariant`.
        sees_target: whether it looks at unlabelled rows of the target (see `fewshot.adaptation`).
    """

    name: ClassVar[str] = ""
    applies_to_text: ClassVar[bool] = False
    sees_target: ClassVar[bool] = False
    removes: tuple[str, ...] = ()

    def fit(self, base: Source | Tensor) -> Transform:
        """Learn from base data (never from the classes that are tested); returns itself."""
        return self

    def adapt(self, support: Support) -> State:
        """What is taken from the support; padding rows do not count."""
        return support.support.new_zeros(len(support))

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Map rows ``[E, R, D]``."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(rows, state).")

    def hyperparameters(self) -> dict[str, Any]:
        """The arguments of ``__init__`` with their present values."""
        return {name: getattr(self, name) for name in argument_names(type(self))}

    def __repr__(self) -> str:
        """The spec string."""
        return spec_string(self.name, self)


class L2(Transform):
    """Scales each row to unit length: ``x / |x|``.

    Example:
        >>> import torch
        >>> from fewshot import load_transform
        >>> load_transform("l2")(torch.tensor([[[3.0, 4.0]]]), None)
        tensor([[[0.6000, 0.8000]]])
    """

    name = "l2"
    applies_to_text = True
    removes = ("scale",)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Normalise."""
        return normalize(rows, dim=-1)


class Power(Transform):
    """Signed power ``sign(x) |x|^beta``: skewed features become more Gaussian, negative ones stay finite.

    Args:
        beta: the exponent, greater than 0.

    Reference: Hu, Gripon, Pateux, "Leveraging the feature distribution in transfer-based few-shot learning",
    ICANN 2021, arXiv:2006.03806 (for non-negative features).

    Example:
        >>> import torch
        >>> from fewshot import load_transform
        >>> load_transform("power")(torch.tensor([[[4.0, -9.0]]]), None)
        tensor([[[ 1.9990, -2.9990]]])
    """

    name = "power"

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta={beta!r}; it must be greater than 0.")
        self.beta = beta

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Raise to the power."""
        # The small constant keeps the derivative finite at 0.
        return rows.sign() * ((rows.abs() + 1e-6) ** self.beta - 1e-6**self.beta)


class Rescale(Transform):
    """Centres on the mean m of the episode's support, and divides by its spread: ``(x - m) / sqrt(mean |x - m|²)``.

    Features of any size then have a mean squared length of 1, so that steps, temperatures and penalties mean the same
    on all of them. What learners call ``"auto"`` is a number on features that are rescaled so.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> rescale = load_transform("rescale")
        >>> rescale(rows.support, rescale.adapt(rows))
        tensor([[[ 0.5883,  0.3922],
                 [-0.5883, -0.3922]]])
    """

    name = "rescale"

    def adapt(self, support: Support) -> State:
        """The mean ``[E, 1, D]`` and the root of the spread ``[E, 1, 1]``."""
        return spread_of_support(support)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and divide."""
        return state.rescale(rows)


class _Fitted(Transform):
    """A transform with statistics of base data; without them it uses the support of each episode."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take the mean of base data ``[M, D]``."""
        total = sum(part.double().sum(0) for part in _parts(base))
        self.mean = (torch.as_tensor(total) / len(base)).float()
        self.removes = ()  # the same is subtracted wherever the rows lie
        return self

    def adapt(self, support: Support) -> State:
        """The mean that is subtracted ``[E, 1, D]``."""
        if self.mean.numel():
            return self.mean.to(support.support).expand(len(support), 1, -1)
        known = (support.labels >= 0).to(support.support.dtype).unsqueeze(1)  # [E, 1, S]
        if support.weights is not None:
            known = known * support.weights.to(known.dtype).unsqueeze(1)
        total = known.sum(-1, keepdim=True)  # [E, 1, 1]
        count = torch.where(total > 0, total, 1)
        mean = product(known, support.support) / count
        # Where rows lie far from zero, the sum has lost digits that what is left of it has not.
        return mean + product(known, support.support - mean) / count

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in self._buffers:  # their size is that of the base data, unknown before
            if prefix + name in state_dict:
                self._buffers[name] = state_dict[prefix + name].clone()
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Centre(_Fitted):
    """Subtracts the mean of the base data, or of the episode's support where none was given: ``x - mean``.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> centre = load_transform("centre")
        >>> centre(rows.support, centre.adapt(rows))
        tensor([[[ 1.5000,  1.0000],
                 [-1.5000, -1.0000]]])
    """

    name = "centre"
    removes = ("offset",)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract."""
        return rows - state


class CL2N(_Fitted):
    """SimpleShot's transform: subtract the mean of the base classes, then scale to unit length.

    Without base data the mean is that of the episode's support.

    Reference: Wang, Chao, Weinberger, van der Maaten, "SimpleShot: revisiting nearest-neighbor classification
    for few-shot learning", 2019, arXiv:1911.04623.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> cl2n = load_transform("cl2n")
        >>> cl2n(rows.support, cl2n.adapt(rows))
        tensor([[[ 0.8321,  0.5547],
                 [-0.8321, -0.5547]]])
    """

    name = "cl2n"
    removes = ("offset", "scale")

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and normalise."""
        return normalize(rows - state, dim=-1)


class Standardise(_Fitted):
    """Brings each feature to mean 0 and variance 1: ``(x - mean_d) / std_d``, for columns of different units.

    Mean and standard deviation (of all rows, divided by their number) are those of the base data, or of the episode's
    support where none was given. A feature without any spread is only centred.

    Example:
        >>> import torch
        >>> from episodes import Support
        >>> from fewshot import load_transform
        >>> rows = Support(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]), torch.tensor([[0, 1]]), way=2)
        >>> standardise = load_transform("standardise")
        >>> standardise(rows.support, standardise.adapt(rows))
        tensor([[[ 1.,  1.],
                 [-1., -1.]]])
    """

    name = "standardise"
    removes = ("offset", "scale")
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("std", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take mean and standard deviation of base data ``[M, D]``."""
        super().fit(base)
        total = sum((part.double() - self.mean.double()).square().sum(0) for part in _parts(base))
        self.std = _spread(torch.as_tensor(total) / len(base), self.mean.double()).float()
        return self

    def adapt(self, support: Support) -> State:
        """What is subtracted, and by what it is divided, each ``[E, 1, D]``."""
        mean = super().adapt(support)
        if self.std.numel():
            return mean, self.std.to(mean).expand_as(mean)
        known = (support.labels >= 0).to(mean.dtype)  # [E, S]
        known = known if support.weights is None else known * support.weights.to(mean.dtype)
        total = known.sum(1, keepdim=True)
        share = (known / torch.where(total > 0, total, 1)).unsqueeze(1)  # [E, 1, S]
        return mean, _spread(product(share, (support.support - mean).square()), mean)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and divide."""
        mean, std = state
        return (rows - mean) / std


class Whiten(_Fitted):
    """Decorrelates with the covariance of base data: ``(x - mean) (Σ + shrinkage tr(Σ)/D I)^(-1/2)``.

    Args:
        shrinkage: share of the mean variance that is added to all directions.

    Example:
        >>> import torch
        >>> from fewshot import load_learner
        >>> base = torch.tensor([[3.0, 4.0], [0.0, 2.0], [2.0, 1.0]])  # rows of classes that are not tested
        >>> learner = load_learner("whiten | prototypes").fit(base)
        >>> learner.transforms[0].mean
        tensor([1.6667, 2.3333])
    """

    name = "whiten"
    matrix: Tensor

    def __init__(self, shrinkage: float = 0.1) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.register_buffer("matrix", torch.zeros(0))

    def fit(self, base: Source | Tensor) -> Transform:
        """Take mean and covariance of base data ``[M, D]``."""
        super().fit(base)
        centre = self.mean.double()
        covariance = sum((part.double() - centre).mT @ (part.double() - centre) for part in _parts(base))
        covariance = torch.as_tensor(covariance) / len(base)  # [D, D]
        floor = self.shrinkage * covariance.diagonal().mean() + 1e-12
        values, vectors = torch.linalg.eigh(covariance)
        self.matrix = ((vectors * (values.clamp(min=0) + floor).rsqrt()) @ vectors.mT).float()
        return self

    def adapt(self, support: Support) -> State:
        """Needs base data: a few support rows cannot tell a covariance."""
        if not self.matrix.numel():
            raise ValueError(
                "whiten has no base data; load_transform('whiten').fit(base) with rows of other classes than "
                "those tested, or use 'centre' or 'cl2n', which can do without."
            )
        return super().adapt(support)

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Subtract and decorrelate."""
        return (rows - state) @ self.matrix.to(rows)


class Pipeline(Learner):
    """Transforms in front of a learner; itself a learner.

    Args:
        transforms: applied in this order to support and queries (and to text, where that makes sense).
        learner: learns from the transformed rows.

    Raises:
        ValueError: a transform that looks at target rows (see `fewshot.adaptation`).
    """

    shows_target: ClassVar[bool] = False

    def __init__(self, transforms: Sequence[Transform], learner: Learner) -> None:
        super().__init__()
        stray = [transform for transform in transforms if getattr(transform, "sees_target", False)]
        if stray and not self.shows_target:
            raise ValueError(
                f"{stray[0]!r} looks at rows of the target, which a Pipeline does not show it; make the learner by "
                f'load_learner("{stray[0]!r} | {learner!r}").'
            )
        self.transforms = nn.ModuleList(transforms)
        self.learner = learner
        self.needs, self.transductive, self.weighted = learner.needs, learner.transductive, learner.weighted
        first = transforms[0] if transforms else learner
        self.inputs = getattr(first, "inputs", learner.inputs)
        self.invariant = first.removes if isinstance(first, Transform) else learner.invariant
        self.tolerance = learner.tolerance  # type: ignore[misc]
        for declared in ("expected_failures", "untrained"):
            found = [getattr(part, declared, {}) for part in (*transforms, learner)]
            setattr(self, declared, {name: why for part in found for name, why in part.items()})
        for part in (first, learner):  # learners of fixed sizes say so, and so does a pipeline of them
            for name in ("item_shape", "way"):
                if hasattr(part, name) and not hasattr(self, name):
                    setattr(self, name, getattr(part, name))

    def fit(self, base: Source | Tensor) -> Pipeline:
        """Fit each transform on base data, seen through the ones before it, then the learner if it can be.

        Returns itself.
        """
        transforms, fit = self._transforms(), getattr(self.learner, "fit", None)
        seen: Source | Tensor = base
        for number, transform in enumerate(transforms):
            transform.fit(seen)
            if number + 1 < len(transforms) or callable(fit):  # all rows at once only where they are needed
                rows = seen if isinstance(seen, Tensor) else seen[torch.arange(len(seen))]
                alone = Support(rows[None], torch.zeros(1, len(rows), dtype=torch.long), way=1)
                seen = transform(rows[None], transform.adapt(alone))[0]
        if transforms:
            self.invariant = transforms[0].removes
        if callable(fit):
            labelled = isinstance(seen, Tensor) and not isinstance(base, Tensor)
            fit(TensorSource(seen, base.labels, name=base.name) if labelled else seen)  # type: ignore[union-attr, arg-type]
        return self

    def adapt(self, support: Support) -> State:
        """States of the transforms, then of the learner."""
        states = []
        for transform in self._transforms():
            states.append(transform.adapt(support))
            support = _through(transform, states[-1], support)
        return (*states, self.learner.adapt(support))

    def adapt_without(self, state: State, support: Support, left: Tensor) -> State:
        """Transforms that look at no other row are applied once, and the learner takes rows out."""
        if any(type(transform).adapt is not Transform.adapt for transform in self._transforms()):
            return super().adapt_without(state, support, left)
        *states, last = state
        for transform, known in zip(self._transforms(), states, strict=True):
            support = _through(transform, known, support)
        nothing = [known.expand(len(left)) for known in states]
        return (*nothing, self.learner.adapt_without(last, support, left))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Transform the queries and let the learner classify them."""
        *states, last = state
        for transform, known in zip(self._transforms(), states, strict=True):
            query = transform(query, known)
        return self.learner.predict(last, query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """The learner's, of the transformed episode."""
        for transform in self._transforms():
            state = transform.adapt(episode.without_query())
            episode = _through(transform, state, episode.without_query()).with_query(transform(episode.query, state))
        return self.learner.outlier_score(episode, logits)

    def check(self, episode: Support) -> None:
        """Refuse what the learner would refuse."""
        self.learner.check(episode)

    def hyperparameters(self) -> dict[str, Any]:
        """Transforms and learner."""
        return {"transforms": self._transforms(), "learner": self.learner}

    def _transforms(self) -> list[Transform]:
        return [transform for transform in self.transforms if isinstance(transform, Transform)]

    def __repr__(self) -> str:
        """The spec string, parts separated by ``|``."""
        return " | ".join([*map(repr, self.transforms), repr(self.learner)])


def _through(transform: Transform, state: State, support: Support) -> Support:
    """The support as a learner behind the transform sees it."""
    text, more = support.text, support.unlabelled
    return support.replace(
        support=transform(support.support, state),
        unlabelled=None if more is None else transform(more, state),
        text=transform(text, state) if text is not None and transform.applies_to_text else text,
    )


def list_transforms() -> list[str]:
    """Names of all transforms, built-in and installed."""
    return TRANSFORMS.names()


def load_transform(spec: str | Transform) -> Transform:
    """Make a transform from its spec string.

    >>> load_transform("power(beta=0.3)")
    power(beta=0.3)
    """
    if not isinstance(spec, str):
        return spec
    name, arguments = parse_spec(spec)
    return build(TRANSFORMS.get(name), name, arguments)


def _spread(variance: Tensor, mean: Tensor) -> Tensor:
    """Standard deviations; 1 where rows differ by no more than the rounding of their mean."""
    return torch.where(variance > (1e-6 * mean).square(), variance, 1).sqrt()


def _parts(base: Source | Tensor) -> Any:
    return (base[torch.arange(start, min(start + _ROWS, len(base)))] for start in range(0, len(base), _ROWS))


def __getattr__(name: str) -> Any:
    """`Chain`, the name of `Pipeline` in version 0.1."""
    if name == "Chain":
        warnings.warn("fewshot.transforms.Chain is now called Pipeline.", DeprecationWarning, stacklevel=2)
        return Pipeline
    raise AttributeError(f"module 'fewshot.transforms' has no attribute {name!r}")
