"""`PMF`: a pretrained, meta-trained network that is tuned on each support before it classifies (P>M>F)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from episodes.episode import Support
from episodes.identity import digest_array
from episodes.inputs import check_whole
from episodes.source import as_float
from fewshot.augmentation import load_augmentation
from fewshot.augmentation.in_pixels import for_inputs
from fewshot.encoders import load_encoder
from fewshot.encoders.encoder import Encoder
from fewshot.learner import Learner, State
from fewshot.learners.prototypes import Prototypes, PrototypesState
from fewshot.runtimes.memory_order import MemoryOrder
from fewshot.transfer.body import Body
from fewshot.transfer.copying import clones, copied
from fewshot.transfer.inputs import as_inputs

_ROWS = 64  # images in one forward pass


class PMF(Learner):
    """Tunes a copy of a network on each support by cosine prototypes, at a rate that is chosen for each episode.

    ``logits = scale cos(f(x), p_n)``, where p_n is the mean of the normalised features of class n. Adam lowers the
    cross-entropy of augmented support rows against prototypes of the support as it is; the whole network learns, with
    batch norms and dropout in evaluation mode. For each rate, one row of every class is the support and the others are
    classified (with one shot, augmented rows that no step trains on); the first rate with the most right ones then
    tunes on all rows. Rate 0, no tuning, is always the first candidate.

    This is the F of the recipe. P is the encoder; M is `fewshot.meta_train` of ``backbone(encoder=ENCODER) |
    prototypes(distance='cosine', scale=10.0)``, whose network is the encoder ``trained:FOLDER`` then. Without
    a network (``pixels``) there is nothing to tune.

    Args:
        encoder: spec string or `Encoder`; it is not changed.
        lrs: learning rates that are tried.
        steps: updates at each rate.
        scale: factor on cosines.
        augment: of support images, as in `fewshot.fine_tune`; None: pseudo-queries are the support itself.
        seed: of the augmentation, with the episode's id and the step.

    Raises:
        ValueError: an unknown encoder or augmentation, one that encodes no images, or a number out of range.
        FloatingPointError: tuning diverged.

    Reference: Hu, Li, Stühmer, Kim, Hospedales, "Pushing the limits of simple pipelines for few-shot learning:
    external data and fine-tuning make a difference", CVPR 2022, arXiv:2204.07305. Their code leaves one shot untuned,
    as nothing is held out, and averages features before it normalises them.

    Example:
        >>> PMF(steps=20)
        pmf(steps=20)
    """

    name: ClassVar[str] = "pmf"
    inputs = "images"

    def __init__(
        self,
        encoder: str | Encoder = "pixels",
        lrs: Sequence[float] = (0.0, 1e-4, 5e-4, 1e-3),
        steps: int = 50,
        scale: float = 10.0,
        augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = "flip | crop(0.8) | color(0.4)",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(lrs, (tuple, list)) or not all(_is_number(lr, 0) for lr in lrs):
            raise ValueError(f"lrs={lrs!r}; give learning rates of at least 0, such as (0.0, 1e-4, 1e-3).")
        if not _is_number(scale, 1e-12):
            raise ValueError(f"scale={scale!r}; it must be a number above 0, such as 10.0.")
        self.encoder, self.lrs, self.steps, self.scale = encoder, lrs, check_whole("steps", steps), scale
        self.augment, self.seed = augment, check_whole("seed", seed, least=0)
        self.base = load_encoder(encoder)
        if not self.base.encodes("images"):
            raise ValueError(f"{self.base.name!r} does not encode images; choose an encoder of images for 'pmf'.")
        self._change = for_inputs(load_augmentation(augment), self.base.transform, self.base.name)
        self._head = Prototypes("cosine", scale)

    def adapt(self, support: Support) -> State:
        """Tune on each support: cosine prototypes, and the tensors of the networks that change ``[E, ...]``."""
        with torch.inference_mode(False):
            tuned = [self._tune(support, number) for number in range(len(support))]
        module, place = self.base.module, support.support.device
        kept = {} if module is None else {name: value.to(place) for name, value in module.state_dict().items()}
        names = sorted({name for _, own in tuned for name in own})
        network = {name: torch.stack([own.get(name, kept[name]) for _, own in tuned]) for name in names}
        head = PrototypesState(*(torch.cat(parts) for parts in zip(*(head for head, _ in tuned), strict=True)))
        return {"head": head, "network": network}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Logits of the tuned networks ``[E, Q, N]``."""
        encoder, dtype, logits = copied(self.base).to(query.device), as_float(query[:0]).dtype, []
        for number in range(len(query)):
            if state["network"] and encoder.module is not None:
                own = {name: value[number] for name, value in state["network"].items()}
                encoder.module.load_state_dict({**encoder.module.state_dict(), **own})
            features = _features(encoder, as_inputs(query[number], encoder)).to(dtype)
            head = PrototypesState(*(part[number : number + 1].to(dtype) for part in state["head"]))
            logits.append(self._head.predict(head, features.unsqueeze(0)))
        return torch.cat(logits)

    def _tune(self, support: Support, number: int) -> tuple[PrototypesState, dict[str, Tensor]]:
        """Prototypes of one episode ``[1, N, D]``, and the tensors of its network that changed."""
        rows, given = support.support[number].detach(), support.labels[number]
        # By content, so that neither the order of rows nor the numbers of classes decide how it is tuned.
        content = {row: digest_array(rows[row].float()) for row in (given >= 0).nonzero().squeeze(1).tolist()}
        order = torch.tensor(sorted(content, key=content.__getitem__), dtype=torch.int64, device=rows.device)
        images, labels = as_inputs(rows[order], self.base), given[order]
        encoder, changed = self.base, {}
        if self.base.module is not None:
            body = Body(self.base, "images").requires_grad_(True)
            encoder = body.encoder.to(rows.device)
            assert encoder.module is not None
            before = clones(encoder.module.eval())  # all towers
            episode = 0 if support.ids is None else int(support.ids[number])
            classes = list(dict.fromkeys(labels.tolist()))
            numbers = torch.tensor([classes.index(label) for label in labels.tolist()], device=rows.device)
            rate = self._rate(body, images, numbers, episode) if len(classes) > 1 else 0.0
            if rate > 0:
                self._train(body, images, numbers, rate, episode)
            after = encoder.module.state_dict()
            changed = {name: after[name].detach() for name, old in before.items() if not torch.equal(after[name], old)}
        features = _features(encoder, images).to(as_float(rows[:0]).dtype)
        if not bool(features.isfinite().all()):
            raise FloatingPointError(f"{self!r} diverged on episode {number}; give smaller lrs.")
        return self._head.adapt(Support(features.unsqueeze(0), labels.unsqueeze(0), support.way)), changed

    def _rate(self, body: Body, images: Tensor, labels: Tensor, episode: int) -> float:
        """The first rate at which most held-out rows are right; the network is as before afterwards."""
        shown = ~(labels.unsqueeze(1) == labels).tril(-1).any(1)  # [S]: the first row of each class
        held, wanted = images[~shown], labels[~shown]
        if not len(held):  # one shot
            held, wanted = self._changed(images, episode, self.steps), labels
        before, best, most = clones(body.network), 0.0, -1
        for rate in dict.fromkeys([0.0, *self.lrs]):
            if most == len(wanted):
                break  # no rate can do better
            if rate > 0:
                self._train(body, images[shown], labels[shown], rate, episode)
            logits = self._logits(_features(body.encoder, torch.cat([images[shown], held])), labels[shown])
            right = int(((logits.argmax(-1) == wanted) & logits.isfinite().all(-1)).sum())
            body.network.load_state_dict(before)
            best, most = (rate, right) if right > most else (best, most)
        return best

    def _train(self, body: Body, images: Tensor, labels: Tensor, rate: float, episode: int) -> None:
        optimizer = torch.optim.Adam(body.network.parameters(), lr=rate)
        ordered = MemoryOrder(body.network)
        with torch.enable_grad():
            for step in range(self.steps):
                optimizer.zero_grad()
                batch = torch.cat([images, self._changed(images, episode, step)])
                if len(batch) <= _ROWS:
                    F.cross_entropy(self._logits(body(ordered(batch, body)), labels), labels).backward()
                else:  # gradients of all features, then of the network part by part: memory is that of one part
                    features = _features(body.encoder, batch).requires_grad_()
                    (slope,) = torch.autograd.grad(F.cross_entropy(self._logits(features, labels), labels), features)
                    for part, own in zip(batch.split(_ROWS), slope.split(_ROWS), strict=True):
                        body(ordered(part, body)).backward(own)
                optimizer.step()

    def _logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits ``[Q, N]`` of the rows that follow those with labels."""
        shown, query = features[: len(labels)], features[len(labels) :]
        head = self._head.adapt(Support(shown.unsqueeze(0), labels.unsqueeze(0), int(labels.max()) + 1))
        return self._head.predict(head, query.unsqueeze(0)).squeeze(0)

    def _changed(self, images: Tensor, episode: int, step: int) -> Tensor:
        """Pseudo-queries of a step: the images, augmented."""
        if self._change is None:
            return images
        seed = np.random.SeedSequence((self.seed, episode, step)).generate_state(1, np.uint64)[0]
        return self._change(images, torch.Generator().manual_seed(int(seed)))


def _features(encoder: Encoder, images: Tensor) -> Tensor:
    """Features ``[B, D]`` without gradients, in parts."""
    with torch.no_grad():
        return torch.cat([encoder.encode_images(part) for part in images.split(_ROWS)])


def _is_number(value: Any, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < np.inf
