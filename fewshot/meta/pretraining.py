"""`pretrain`: plain classification of all base classes, before or instead of meta-training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.progress import progress_bar
from episodes.source import Source
from fewshot.meta.schedule import rate_at
from fewshot.meta.training import OPTIMISERS, Training
from fewshot.nets.front import NetFront


def pretrain(
    learner: Any,
    source: Source,
    *,
    epochs: int = 10,
    batch: int = 64,
    optimiser: str = "adam",
    rate: float = 1e-3,
    decay: float = 0.0,
    schedule: str = "cosine",
    cosine: bool = False,
    scale: float = 10.0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = (),
    device: torch.device | str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Training:
    """Train the network in front of a learner to tell all classes of a source apart: a "Baseline".

    A linear classifier over the classes stands on the features while this lasts, and is thrown away; the learner behind
    the network takes its place. With `cosine` it is a cosine classifier ("Baseline++"). Go on with `meta_train`, or
    evaluate as it is.

    Args:
        learner: with a network in front, ``conv4 | prototypes``; its network is trained in place.
        source: rows of the base classes.
        epochs: passes over the rows.
        batch: rows of one update.
        optimiser: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        rate: of the optimiser.
        decay: of the weights.
        schedule: of the rate.
        cosine: compare by ``scale cos`` instead of a linear classifier.
        scale: of that cosine.
        augment: (rows ``[1, B, *x]``, generator) -> rows; the generator is seeded by the step.
        callbacks: called with a report after each epoch.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        seed: of the order of rows and of the classifier.
        progress: show a bar on a terminal.

    Raises:
        ValueError: the learner has no network in front, or an argument is out of range.

    Reference: Chen, Liu, Kira, Wang, Huang, "A closer look at few-shot classification", ICLR 2019, arXiv:1904.04232.
    """
    from fewshot.learners import load_learner

    if epochs < 1 or batch < 2 or rate <= 0 or optimiser not in OPTIMISERS:
        raise ValueError(
            f"epochs={epochs}, batch={batch}, rate={rate}, optimiser={optimiser!r}; at least 1, at least 2, positive, "
            f"and one of {', '.join(OPTIMISERS)}."
        )
    model = load_learner(learner)
    front = next((part for part in model.modules() if isinstance(part, NetFront)), None)
    if front is None:
        raise ValueError(f"{model!r} has no network in front; write 'conv4 | {model!r}'.")
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else torch.device(device)
    rows, labels = source.to(place) if hasattr(source, "to") else source, source.labels.to(place)
    generator = torch.Generator().manual_seed(seed)
    start = 0.05 * torch.randn(len(source.class_names), int(front.net.dim), generator=generator)  # type: ignore[arg-type]
    model.to(place).train()
    head = nn.Parameter(start.to(place))
    options: dict[str, Any] = {"momentum": 0.9} if optimiser == "sgd" else {}
    updates = OPTIMISERS[optimiser]([*front.parameters(), head], lr=rate, weight_decay=decay, **options)
    training, steps = Training(model), epochs * max(1, len(labels) // batch)
    with progress_bar(epochs, 0, "epochs", show=progress) as bar:
        for epoch in range(epochs):
            order = torch.from_numpy(np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(len(labels)))
            losses, right = 0.0, 0
            for part in order[: max(1, len(labels) // batch) * batch].split(batch):
                for group in updates.param_groups:
                    group["lr"] = rate_at(training.step, steps, rate, schedule)
                pictures = rows[part].to(place).unsqueeze(0)
                if augment is not None:
                    pictures = augment(pictures, torch.Generator().manual_seed(seed + training.step))
                features = front(pictures, None)[0]
                if cosine:
                    logits = scale * F.normalize(features, dim=-1) @ F.normalize(head, dim=-1).T
                else:
                    logits = features @ head.T
                loss = F.cross_entropy(logits, labels[part])
                updates.zero_grad(set_to_none=True)
                loss.backward()
                updates.step()
                training.step += 1
                losses += float(loss.detach()) * len(part)
                right += int((logits.argmax(-1) == labels[part]).sum())
            report = {
                "step": training.step,
                "epoch": epoch + 1,
                "loss": losses / len(order),
                "accuracy": right / len(order),
            }
            training.history.append(report)
            for listener in callbacks:
                listener(report)
            bar.update(1)
    model.eval()
    return training
