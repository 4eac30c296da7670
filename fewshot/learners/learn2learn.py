"""learn2learn's algorithms as learners, its datasets as sources, and weights both ways."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.episode import Support
from episodes.source import TensorSource
from fewshot.learner import Learner
from fewshot.nets.front import NetFront
from fewshot.transforms import Pipeline

_INSTALL = (
    'learn2learn is optional: pip install "fewshot[learn2learn]", then uv pip install --no-deps '
    "--config-setting=--build-option=build_ext learn2learn==0.2.0 (which needs a C compiler)."
)


class Learn2LearnLearner(Learner):
    """Any learn2learn algorithm with ``clone()`` and ``adapt(loss)``: `MAML`, `MetaSGD`, `GBML`.

    Each episode is learned by a clone of its own, one after the other: slow, and exactly theirs. Gradients reach the
    algorithm's parameters, so `meta_train` trains it.

    Args:
        algorithm: of learn2learn, around a net of `way` outputs.
        way: classes N.
        steps: calls of ``adapt`` per episode.
        item_shape: of one row.
    """

    name: ClassVar[str] = "learn2learn"
    expected_failures: ClassVar[Mapping[str, str]] = {
        "class_order_does_not_matter": "The net's outputs are learned for the first, second, ... class.",
        "spec_string_round_trip": "It is made of an object, which no string spells.",
    }

    def __init__(
        self, algorithm: nn.Module, way: int, steps: int = 1, item_shape: tuple[int, ...] = (1, 28, 28)
    ) -> None:
        super().__init__()
        self.algorithm, self.way, self.steps, self.item_shape = algorithm, way, steps, tuple(item_shape)
        self.inputs = "images" if len(self.item_shape) == 3 else "features"

    def adapt(self, support: Support) -> tuple[Tensor, Tensor]:
        """Keep the support: a clone is a module, not a tensor, so it is made where queries are answered."""
        return support.support, support.labels

    def predict(self, state: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
        """Adapt a clone to each episode, then ask it."""
        support, labels = state
        answers = []
        for e in range(len(support)):
            known = labels[e] >= 0
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                clone = self.algorithm.clone()  # type: ignore[operator]
                for _ in range(self.steps):
                    clone.adapt(F.cross_entropy(clone(support[e, known]), labels[e, known]))
            answers.append(clone(query[e]))
        return torch.stack(answers)


class _Front(NetFront):
    name: ClassVar[str] = "learn2learn-features"

    def __init__(self, net: nn.Module, item_shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.net, self.item_shape, self.dim = net, tuple(item_shape), dim

    def forward(self, rows: Tensor, state: Any) -> Tensor:
        features: Tensor = self.net(rows.flatten(0, 1)).flatten(1)
        return features.view(*rows.shape[:2], -1)


def adapter(algorithm: Any, way: int = 5, steps: int = 1, item_shape: tuple[int, ...] = (1, 28, 28)) -> Learner:
    """A learner of ours around an algorithm of theirs.

    Args:
        algorithm: `MAML`, `MetaSGD`, `GBML` or anything with ``clone`` and ``adapt``; or a Lightning prototypical
            network, of which the features are taken.
        way: classes N.
        steps: of adaptation.
        item_shape: of one row.

    Raises:
        ImportError: learn2learn is not installed.
        ValueError: neither of these.
    """
    require()
    if hasattr(algorithm, "clone") and hasattr(algorithm, "adapt"):
        return Learn2LearnLearner(algorithm, way, steps, item_shape)
    features = getattr(algorithm, "features", None)
    if isinstance(features, nn.Module):
        from fewshot.learners.prototypes import Prototypes

        with torch.no_grad():
            dim = features(torch.zeros(2, *item_shape)).flatten(1).shape[1]
        return Pipeline([_Front(features, item_shape, dim)], Prototypes())
    raise ValueError(f"{type(algorithm).__name__} has neither clone and adapt, nor features; give such an algorithm.")


def source_of(dataset: Any, name: str = "learn2learn") -> TensorSource:
    """The rows of a `MetaDataset` (or of the one behind a `Taskset`), read once."""
    inner = getattr(dataset, "dataset", dataset)
    meta = inner if hasattr(inner, "indices_to_labels") else dataset
    if not hasattr(meta, "indices_to_labels"):
        raise ValueError(f"{type(dataset).__name__} is neither a MetaDataset nor a Taskset of learn2learn.")
    rows = torch.stack([torch.as_tensor(meta[index][0]) for index in range(len(meta))])
    labels = [int(meta.indices_to_labels[index]) for index in range(len(meta))]
    return TensorSource(rows, labels, name=name)


def state_to_learn2learn(network: nn.Module) -> dict[str, Tensor]:
    """A state dict for their wrapper around the same net."""
    return {f"module.{name}": value for name, value in network.state_dict().items()}


def state_from_learn2learn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the net inside their wrapper; Meta-SGD's rates are left out."""
    return {name.removeprefix("module."): value for name, value in state.items() if name.startswith("module.")}


def require() -> Any:
    """learn2learn, imported without the notices of its dependencies.

    Raises:
        ImportError: it is not installed; the message holds the line that installs it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import learn2learn
        except ImportError:
            raise ImportError(_INSTALL) from None
    return learn2learn
