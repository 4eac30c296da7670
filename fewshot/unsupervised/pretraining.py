"""`pretrain_unlabelled`: an encoder from pictures without labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from episodes.device import choose_device
from episodes.identity import digest
from episodes.source import Source, tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.meta.loop import train
from fewshot.meta.plan import Monitoring, Plan
from fewshot.meta.precision import training_precision
from fewshot.randomness import drawing_from
from fewshot.transfer.body import Body
from fewshot.transfer.heads import linear
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.tuned_encoder import TunedEncoder
from fewshot.transfer.tuning_identity import identity_of
from fewshot.transfer.working_copy import WorkingCopy
from fewshot.unsupervised.method import Method
from fewshot.unsupervised.methods import load_method
from fewshot.unsupervised.passes import Passes


class _Trained(nn.Module):
    """A network, and the layers of the method that are dropped afterwards."""

    def __init__(self, body: Body, method: Method) -> None:
        super().__init__()
        self.body, self.method = body, method


def pretrain_unlabelled(
    encoder: str | Encoder,
    source: Any,
    method: str | Method = "barlow-twins",
    *,
    epochs: int = 20,
    batch: int = 128,
    optimizer: str = "adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    warm_up: int = 0,
    clip: float | None = None,
    precision: str = "float32",
    augment: str | Callable[[Tensor, torch.Generator], Tensor] | None = None,
    validation: tuple[Source, Any] | None = None,
    validation_episodes: int = 200,
    every: int | None = None,
    patience: int | None = None,
    out: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    device: torch.device | str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> TunedEncoder:
    """Train an encoder's network on pictures without labels: self-taught transfer begins with it.

    The encoder given is not changed; the result is one like any other, with an identity of its own, for `embed`,
    `evaluate`, `fine_tune` and `cluster`. A run that was killed resumes, to the same weights (on a CPU); with ``out``,
    ``last.safetensors`` there are the network's weights.

    Args:
        encoder: spec string or `Encoder`, such as ``"net:conv4(item_shape=(1, 28, 28))"``; all of its network trains.
        source: pictures as `fewshot.embed` takes them; labels are not looked at, and those in a folder need none.
        method: ``"simsiam(dim, bottleneck)"``, ``"barlow-twins(dim, weight)"`` or ``"rotation"``.
        epochs: passes over the pictures.
        batch: pictures of one update.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9).
        lr: learning rate.
        weight_decay: of the optimizer.
        schedule: of the learning rate: ``"constant"``, ``"cosine"`` or ``"linear"``.
        warm_up: steps over which the learning rate rises.
        clip: longest gradient, or None.
        precision: of the forward pass, as in `fine_tune`.
        augment: how the views of a picture are drawn, ``"crop(0.4) | flip"`` (see `fewshot.augmentation`), or a
            function; it decides what the network learns to ignore. None: the method's own: ``crop(0.4)`` for views, no
            change for ``rotation``.
        validation: labelled rows and a sampler over them: the weights of the highest mean accuracy of ``prototypes``
            are kept.
        validation_episodes: how many.
        every: steps between reports, validations and checkpoints; by default one epoch.
        patience: reports without a better validation after which training ends, or None.
        out: folder for weights, state and log.
        callbacks: called with each report; its ``accuracy`` is that of the turns, or the share of pictures whose two
            views find one another within the batch. That share falls to one in a batch where features collapse.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        seed: of the order of pictures, of views and of the method's own layers.
        progress: show bars on a terminal.

    Raises:
        ValueError: texts, an encoder without a network, fewer pictures than a batch needs, an argument out of range, or
            `out` holds something else.
        FloatingPointError: the loss is not finite.

    References: those of the methods; Raina, Battle, Lee, Packer, Ng, "Self-taught learning: transfer learning from
    unlabeled data", ICML 2007.
    """
    from episodes.any_source import as_source
    from episodes.datasets.unlabelled import load_unlabelled
    from fewshot.augmentation import load_augmentation
    from fewshot.augmentation.in_pixels import for_inputs
    from fewshot.encoders import load_encoder

    given, place, task = load_encoder(encoder), choose_device(device), load_method(method)
    items = as_source(load_unlabelled(source) if isinstance(source, (str, os.PathLike)) else source, given)
    if tower_of(items) == "texts":
        raise ValueError(f"{items.name!r} holds texts; the methods here are of pictures.")
    if epochs < 1 or len(items) < max(task.least, 2) or batch < task.least:
        raise ValueError(
            f"epochs={epochs}, batch={batch}, {len(items)} rows; at least 1, and batches of at least {task.least} rows."
        )
    change = for_inputs(load_augmentation(task.augment if augment is None else augment), given.transform, given.name)
    steps = max(1, len(items) // batch)
    plan = Plan(
        epochs * steps, min(batch, len(items)), 1, optimizer, lr, weight_decay, schedule, warm_up, clip,
        training_precision(precision, given.module, place), seed,
    )  # fmt: skip
    plan.check()

    working = WorkingCopy(given, "images", place)
    assert working.body is not None
    body, model, network = working.body, working.model, working.body.network
    rows = Inputs(items, model, progress)
    example = rows.first(2, place)
    working.anatomy(example, [])  # refuses a network that no gradient reaches
    network.requires_grad_(True)
    with torch.no_grad():
        width = body.eval()(example).shape[1]
    with drawing_from(seed):
        task.begin(width, tuple(example.shape[1:]))
    trained = _Trained(body, task).to(place)
    compute_loss = Passes(body, task, partial(rows.take, device=place), len(items), steps, change, seed)

    def validated() -> float:
        assert validation is not None
        return _mean_accuracy(model, *validation, validation_episodes, place)

    def identity() -> dict[str, Any]:
        checked = None if validation is None else [validation[0].fingerprint(), validation[1].recipe()]
        return {
            "encoder": identity_of(given, required=True), "rows": _pictures_of(items), "method": repr(task),
            "augment": None if change is None else digest(change), "validation": [checked, validation_episodes],
            "every": every, "plan": {name: value for name, value in asdict(plan).items() if name != "steps"},
        }  # fmt: skip

    check = None if validation is None else validated
    monitoring = Monitoring(
        steps if every is None else every, check, validation_episodes, patience, out, callbacks, progress, "rows"
    )
    monitoring.check()
    training = train(trained, network, compute_loss, plan, monitoring, place, identity)
    moved = working.finish()
    return TunedEncoder(
        model, linear(torch.zeros(0, width), torch.zeros(0)), [], base=identity_of(given, required=False),
        changed=moved, strategy=repr(task), history=[training.history],
        setting="self-taught",
    )  # fmt: skip


def _mean_accuracy(model: Encoder, held: Source, sampler: Any, episodes: int, device: torch.device) -> float:
    """Of ``prototypes`` on the features of labelled rows."""
    from episodes.evaluation import evaluate
    from fewshot.embedding import embed

    features = embed(held, model, cache=False, device=device, progress=False)
    found = evaluate({"prototypes": "prototypes"}, features, sampler, episodes=episodes, progress=False)
    return float(found["prototypes"].mean)


def _pictures_of(items: Any) -> str:
    """A digest of the rows, whatever their labels."""
    from episodes.device import processors
    from fewshot.embedding.plan import Plan as Contents

    return digest(Contents(items, 0, None, 0, processors()).keys)
