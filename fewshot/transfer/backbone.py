"""`BackboneFront`: a pretrained network in front of a learner, ``backbone(encoder='timm:resnet18') | prototypes``."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.encoders import load_encoder
from fewshot.encoders.encoder import Encoder
from fewshot.learner import State
from fewshot.nets.front import NetFront
from fewshot.runtimes.memory_order import MemoryOrder
from fewshot.transfer.body import Body
from fewshot.transfer.inputs import as_inputs
from fewshot.transfer.norms import keeps_statistics

_LOG = logging.getLogger("fewshot")


class BackboneFront(NetFront):
    """A copy of an encoder's network with its weights, which `meta_train` and `pretrain` go on training.

    This is the M of the recipe P>M>F: pretrain, meta-train, fine-tune on each support. Rows are pictures in 0..1 (or 8
    bits); each goes through the encoder's own transform. Gradients reach the network, not the pictures.

    Args:
        encoder: spec string or `Encoder` with a network for images; it is not changed.
        batch_norm: ``"frozen"``: batch norms keep their running statistics, as features of a query must not depend on
            the other queries; ``"train"``: while it trains, they take those of the batch.

    Attributes:
        encoder_: the copy, with the weights that it has at present: for `fewshot.embed`, ``pmf(encoder=...)`` or
            `fewshot.fine_tune`.

    Raises:
        ValueError: the encoder has no network that can be trained on images, or a name is unknown.

    Reference: Hu, Li, Stühmer, Kim, Hospedales, "Pushing the limits of simple pipelines for few-shot learning",
    CVPR 2022, arXiv:2204.07305; Chen, Liu, Xu, Darrell, Wang, "Meta-Baseline", ICCV 2021, arXiv:2003.04390.

    Example:
        >>> BackboneFront("fewshot:conv4-omniglot").encoder_.dim
        64
    """

    name: ClassVar[str] = "backbone"
    net: _Network

    def __init__(self, encoder: str | Encoder = "fewshot:conv4-omniglot", batch_norm: str = "frozen") -> None:
        super().__init__()
        if batch_norm not in ("frozen", "train"):
            raise ValueError(f"batch_norm={batch_norm!r}; it must be one of frozen, train.")
        given = load_encoder(encoder)
        if given.module is None or not given.encodes("images"):
            what = "encodes no images" if given.module is not None else "has no network"
            raise ValueError(
                f"{given.name!r} {what}, so it cannot stand in front of a learner as 'backbone'; give an encoder with "
                "a network for images, such as 'timm:mobilenetv2_100'."
            )
        self.encoder, self.batch_norm = encoder, batch_norm
        self.net = _Network(given, "images").requires_grad_(True)
        self.train(self.training)

    @property
    def encoder_(self) -> Encoder:
        """The network as an encoder, with its present weights."""
        return self.net.encoder

    def adapt(self, support: Support) -> State:
        """Nothing: each row is mapped by itself."""
        return support.support.new_zeros(len(support))

    def forward(self, rows: Tensor, state: State) -> Tensor:
        """Features ``[E, R, *x] -> [E, R, D]``."""
        episodes, count = rows.shape[:2]
        if not count:
            return rows.new_zeros(episodes, 0, self.width)
        inputs = as_inputs(rows.flatten(0, 1), self.encoder_)
        if inputs.ndim == 4 and rows.ndim == 5 and max(rows.shape[-2:]) < min(inputs.shape[-2:]):
            _warn_once(tuple(rows.shape[-2:]), tuple(inputs.shape[-2:]), self.encoder_.name)
        features: Tensor = self.net(inputs)
        return features.view(episodes, count, -1)

    def train(self, mode: bool = True) -> BackboneFront:
        """Training mode, but for batch norms that keep their statistics."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for part in self.net.modules():
                if keeps_statistics(part):
                    part.eval()
        return self

    @property
    def width(self) -> int:
        """Features D of a row.

        Raises:
            ValueError: they depend on the size of the pictures, which the encoder leaves open.
        """
        if self.encoder_.dim is None:
            raise ValueError(f"{self.encoder_.name!r} does not say how many features it makes; give it dim=.")
        return self.encoder_.dim


class _Network(Body):
    """A body whose description names its weights once: training changes them, and what it is stays the same."""

    @property
    def encoder(self) -> Encoder:
        """The copy, of which `network` is a part."""
        return self._held.encoder

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._held = _Unweighted(encoder)

    def forward(self, batch: Any) -> Tensor:
        """Features ``[B, D]``."""
        run = super().forward
        return run(self._held.ordered(batch, run))


class _Unweighted:
    """An encoder, described apart from its weights."""

    def __init__(self, encoder: Encoder) -> None:
        assert encoder.module is not None
        self.encoder, self.ordered = encoder, MemoryOrder(encoder.module)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Architecture, layer, pooling and preprocessing."""
        return {name: value for name, value in self.encoder.fingerprint.items() if name != "weights"}


_said: set[Any] = set()


def _warn_once(given: tuple[int, ...], taken: tuple[int, ...], name: str) -> None:
    """Pictures that a source has shrunk before are enlarged again: most of what they showed is gone."""
    if (given, taken, name) not in _said:
        _said.add((given, taken, name))
        _LOG.warning(
            "rows of %s pixels are enlarged to the %s that %r takes; read the pictures at that size "
            "(ImageSource(..., size=%d), or --data 'folder:PATH(size=%d)').",
            "x".join(map(str, given)), "x".join(map(str, taken)), name, taken[-1], taken[-1],
        )  # fmt: skip


def front_of(learner: torch.nn.Module) -> BackboneFront:
    """The pretrained network in front of a learner.

    Raises:
        ValueError: it has none.
    """
    for part in learner.modules():
        if isinstance(part, BackboneFront):
            return part
    raise ValueError(
        f"{learner!r} has no pretrained network in front: \"backbone(encoder='timm:resnet18') | prototypes\"."
    )


def trained(model: str) -> Encoder:
    """The network that `meta_train` or `pretrain` trained as an encoder, from its file of weights.

    Args:
        model: file, or the folder of the training: of that the best weights, where there was validation, else the last.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or holds a learner without a pretrained network in front.
    """
    from pathlib import Path

    from episodes.files import read_bounded
    from fewshot.learners import load_learner
    from fewshot.meta.weights import LARGEST, load_weights, read_tensors

    place = Path(model).expanduser()
    if place.is_dir():
        found = [place / f"{name}.safetensors" for name in ("best", "last")]
        place = next((file for file in found if file.is_file()), found[-1])
    if not place.is_file():
        raise FileNotFoundError(f"there are no weights {str(place)!r}; give what `fewshot train --out` wrote.")
    spec = read_tensors(read_bounded(place, LARGEST), repr(str(place)))[1].get("learner")
    if not isinstance(spec, str) or "backbone" not in spec:
        raise ValueError(
            f"{str(place)!r} holds {spec or 'weights of no learner'}, which has no pretrained network in front, so it "
            "is no encoder; its learner reads it: fewshot evaluate --learner SPEC --weights FILE."
        )
    learner = load_learner(spec)
    front = front_of(learner)
    load_weights(learner, place)
    encoder = front.encoder_
    encoder.name = f"trained:{model}"
    return encoder
