"""`Tuned`: fine-tuning as a learner, evaluated on the same episodes as all others."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.identity import UnknownIdentityError, digest_array
from episodes.source import TensorSource
from fewshot.encoders import load_encoder
from fewshot.encoders.encoder import Encoder
from fewshot.learner import Learner, State
from fewshot.transfer.copying import copied
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.inputs import Inputs

_ROWS = 64  # queries in one forward pass


class Tuned(Learner):
    """Fine-tunes a copy of an encoder on the support of each episode, one after the other: `fine_tune`.

    Rows are images. What is frozen at the beginning of the network is computed once for every image, whatever the
    number of episodes that it appears in, and kept in the user's embedding cache.

    Args:
        encoder: spec string or `Encoder`.
        strategy: as for `fine_tune`.
        epochs: passes over the support; None: what `fine_tune` chooses.
        lr: rate of the network; None: the strategy's own.
        head_lr: rate of the head; None: the strategy's own.
        batch_size: rows of an update.
        head: how the head begins.
        layer_decay: of the rates towards the input.
        weight_decay: of matrices and filters.
        label_smoothing: share of the target that is spread over all classes.
        wise: share of the tuned weights in the end; None: 1.
        seed: of the order of rows and of new weights.
        l2_sp: strength of the pull to the weights that it began with, in the place of `weight_decay`; None: none.
        mixup: a of the Beta(a, a) by which pairs of rows and labels are mixed; 0: they are not.
        augment: spec string of changes of the support's pixels, anew in each epoch; see `fewshot.augmentation`.
        swa: share of the epochs, the last ones, over which weights are averaged; None: the last weights.
        views: augmented views of each image, whose frozen part is computed once; 0: each epoch augments anew.

    Raises:
        ValueError: an unknown encoder or strategy, or one that finds nothing to train.

    Example:
        >>> from fewshot import load_learner
        >>> load_learner("tuned(encoder='fewshot:conv4-omniglot', strategy='last(1)')")
        tuned(encoder='fewshot:conv4-omniglot', strategy='last(1)')
    """

    name: ClassVar[str] = "tuned"
    inputs = "images"

    def __init__(
        self,
        encoder: str | Encoder = "pixels",
        strategy: str = "linear-probe",
        epochs: int | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
        batch_size: int = 32,
        head: str = "prototypes",
        layer_decay: float = 1.0,
        weight_decay: float = 1e-4,
        label_smoothing: float = 0.0,
        wise: float | None = None,
        seed: int = 0,
        l2_sp: float | tuple[float, float] | None = None,
        mixup: float = 0.0,
        augment: str | None = None,
        swa: float | None = None,
        views: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.strategy, self.epochs, self.lr, self.head_lr = encoder, strategy, epochs, lr, head_lr
        self.batch_size, self.head, self.layer_decay, self.weight_decay = batch_size, head, layer_decay, weight_decay
        self.label_smoothing, self.wise, self.seed = label_smoothing, wise, seed
        self.l2_sp, self.mixup, self.augment, self.swa = l2_sp, mixup, augment, swa
        self.views = views
        self.base = load_encoder(encoder)
        _ = self.base.dim  # found by a trial, now rather than in some episode

    def adapt(self, episode: Support) -> State:
        """Tune on each support: the tensors of the network that change, and a head ``[E, N, D]``."""
        states = [self._tune(episode, number) for number in range(len(episode))]
        changed = {name for state in states for name in state["network"]}
        kept = {} if self.base.module is None else self.base.module.state_dict()
        device = episode.support.device
        network = {
            name: torch.stack([state["network"].get(name, kept[name]).to(device) for state in states])
            for name in sorted(changed)
        }
        return {
            "weight": torch.stack([state["weight"] for state in states]),
            "bias": torch.stack([state["bias"] for state in states]),
            "network": network,
        }

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Logits of the tuned networks ``[E, Q, N]``."""
        encoder = copied(self.base).to(query.device)
        logits = []
        for number in range(len(query)):
            if state["network"] and encoder.module is not None:
                tuned = {name: value[number] for name, value in state["network"].items()}
                encoder.module.load_state_dict({**encoder.module.state_dict(), **tuned})
            features = self._features(encoder, query[number], frozen=not state["network"])
            scores = features.to(query.dtype) @ state["weight"][number].to(query.dtype).T
            logits.append(scores + state["bias"][number].to(query.dtype))
        return torch.stack(logits)

    def _tune(self, episode: Support, number: int) -> dict[str, Any]:
        rows, labels = episode.support[number], episode.labels[number]
        real = (labels >= 0).nonzero().squeeze(1).tolist()
        # By content, so that neither the order of rows nor the numbers of classes decide how it is trained.
        order = torch.tensor(sorted(real, key=lambda row: digest_array(rows[row])), device=rows.device)
        present, numbers = labels[order].unique(return_inverse=True)
        bias = torch.full((episode.way,), -torch.inf, device=rows.device)
        source = TensorSource(rows[order], numbers.cpu(), [str(c) for c in present.tolist()], name="support",
                              kind="images")  # fmt: skip
        if len(present) == 1:  # nothing to tell apart
            width = self._features(copied(self.base).to(rows.device), rows[order[:1]], frozen=True).shape[1]
            bias[present] = 0.0
            return {"network": {}, "weight": bias.new_zeros(episode.way, width), "bias": bias}
        with torch.inference_mode(False), torch.enable_grad():
            tuned = fine_tune(
                self.base, source, self.strategy, epochs=self.epochs, batch_size=self.batch_size, lr=self.lr,
                head_lr=self.head_lr, head=self.head, layer_decay=self.layer_decay, weight_decay=self.weight_decay,
                label_smoothing=self.label_smoothing, wise=self.wise, seed=self.seed, l2_sp=self.l2_sp,
                mixup=self.mixup, augment=self.augment, swa=self.swa, views=self.views, cache=self._cache(),
                device=rows.device, progress=False,
            )  # fmt: skip
        weight = bias.new_zeros(episode.way, tuned.head.in_features)
        weight[present], bias[present] = tuned.head.weight.to(bias), tuned.head.bias.to(bias)
        state = {} if tuned.module is None else tuned.module.state_dict()
        return {"network": {name: state[name].detach() for name in tuned.changed}, "weight": weight, "bias": bias}

    def _features(self, encoder: Encoder, rows: Tensor, frozen: bool) -> Tensor:
        """Features ``[Q, D]``; those of the encoder as it is are kept."""
        from fewshot.embedding import embed

        source = TensorSource(rows, torch.zeros(len(rows), dtype=torch.int64), ["query"], name="query", kind="images")
        if not len(rows):
            return rows.new_zeros(0, int(encoder.dim or 0))
        if frozen:
            options: dict[str, Any] = {"storage": "float32", "precision": "float32", "progress": False}
            found = embed(source, encoder, cache=self._cache(), device=rows.device, **options)
            return found.features.to(rows.device)
        inputs = Inputs(source, encoder)
        with torch.no_grad():
            parts = [
                encoder.encode_images(inputs.take(part, rows.device)) for part in torch.arange(len(rows)).split(_ROWS)
            ]
        return torch.cat(parts)

    def _cache(self) -> Any:
        try:
            _ = self.base.fingerprint
        except (UnknownIdentityError, TypeError):
            return False
        return None
