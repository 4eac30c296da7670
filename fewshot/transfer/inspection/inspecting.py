"""`inspect`: what each stage of a network makes of labelled rows, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from episodes.any_source import as_source
from episodes.device import choose_device
from episodes.identity import UnknownIdentityError, digest
from episodes.pictures import as_picture
from episodes.source import StoredSource, tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import evaluation_mode
from fewshot.transfer.body import Body
from fewshot.transfer.heads import first_head, linear
from fewshot.transfer.inputs import Inputs
from fewshot.transfer.inspection.answers import Answers, changes
from fewshot.transfer.inspection.measures import StageNumbers, measure, stratified_folds
from fewshot.transfer.inspection.occlusion import examples_to_explain, picture_importance, word_importance
from fewshot.transfer.inspection.pictures import network_input, thumbnail, visible
from fewshot.transfer.inspection.planes import PLANES, common_axes, plane
from fewshot.transfer.inspection.result import Closeup, Inspection, View
from fewshot.transfer.inspection.stage_rows import FEATURES, StageRows
from fewshot.transfer.inspection.subjects import caption, drawn_rows, head_for, numbers_of, selected
from fewshot.transfer.labelled_rows import checked_classes
from fewshot.transfer.tuned_encoder import TunedEncoder

_FOLDS = 5


def inspect(
    encoder: str | Encoder,
    source: Any,
    after: Encoder | None = None,
    *,
    train: Any = None,
    axes: str = "pca",
    rows: int = 1000,
    examples: int = 12,
    pictures: int = 6,
    cache: Any = None,
    device: torch.device | str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Inspection:
    """What each stage of a network makes of labelled rows: how far it keeps classes apart, and what it looks at.

    For each stage, from the input to the features: accuracy of a linear classifier on rows left out, the geometry of
    class means, and a flat map of the rows. With `after`, the same network fine-tuned, all of it side by side, and the
    rows whose answer changed. A few rows are shown with what their answer rests on. Outputs of a stage are averaged
    over positions as soon as they are computed; early stages of a convolutional network know more than that average.

    Give rows that were not trained on: a tuned network has learnt those by heart.

    Args:
        encoder: spec string or `Encoder` with a network.
        source: labelled rows, as `fewshot.embed` takes them.
        after: what `fine_tune` made of that encoder.
        train: rows that a ridge head for the frozen features is fitted to, those that `after` was tuned on for
            instance, so that both heads answer for the same unseen rows; None: answers of the frozen features are
            those of ridge regression over rows left out.
        axes: of the maps: ``"pca"``, the directions of most variance, or ``"lda"``, those that keep class means apart.
        rows: the most that are looked at, drawn with the proportions of the classes.
        examples: changed answers shown of each kind.
        pictures: rows shown with what their answer rests on.
        cache: of embeddings, as in `fewshot.embed`.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        seed: of the rows drawn and of the folds.
        progress: show bars on a terminal.

    Raises:
        ValueError: an encoder without stages, rows without two of each class, or `after` of another encoder.

    References: Alain, Bengio, "Understanding intermediate layers using linear classifier probes", ICLR 2017 workshop,
    arXiv:1610.01644; Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
    arXiv:1311.2901; those of the numbers are in `fewshot.transfer.inspection.measures`.
    """
    from fewshot.encoders import load_encoder

    if axes not in PLANES:
        raise ValueError(f"axes={axes!r}; they must be one of {', '.join(PLANES)}.")
    if min(examples, pictures) < 0:
        raise ValueError(f"examples={examples} and pictures={pictures}; neither may be negative.")
    given, place = load_encoder(encoder), choose_device(device)
    check_same_origin(given, after)
    items = as_source(source, given)
    labels, names = checked_classes(items)
    drawn = drawn_rows(labels, rows, seed, names)
    shown, labels = selected(items, drawn), labels[drawn]
    folds = stratified_folds(labels, _FOLDS, seed)
    options: dict[str, Any] = {"device": place, "storage": "float32", "precision": "float32", "progress": progress}

    looks = []
    for number, one in enumerate([given] if after is None else [given, after]):
        kept = cache_for(one, cache)
        looks.append(_look(one, shown, labels, folds, names, train if number == 0 else None, kept, options))
    if after is not None and looks[0].stages.names != looks[1].stages.names:
        raise ValueError(
            f"{after.name!r} has stages {looks[1].stages.names}, but {given.name!r} {looks[0].stages.names}; networks "
            "of two architectures are inspected one by one."
        )
    planes = [[plane(rows_of, labels, axes) for rows_of in look.rows.values()] for look in looks]
    first, second = common_axes(planes[0], planes[1] if len(planes) > 1 else [])
    changed = changes(looks[0].answers, looks[1].answers, labels, drawn, names) if len(looks) > 1 else []
    place_of_row = {row: number for number, row in enumerate(drawn.tolist())}
    telling = [place_of_row[change.row] for kind in ("fixed", "broken") for change in changed if change.kind == kind]
    close = [_closeup(looks, shown, labels, int(drawn[at]), at, names)
             for at in examples_to_explain(labels, telling, pictures)]  # fmt: skip
    wanted = {change.row for kind in ("fixed", "broken", "other")
              for change in [one for one in changed if one.kind == kind][:examples]}  # fmt: skip
    return Inspection(
        source=items.name, encoder=given.name, tuned=None if after is None else after.name, kind=tower_of(items),
        class_names=names, labels=labels, rows=drawn, total=len(items), axes=axes,
        before=View(looks[0].numbers, first, looks[0].answers),
        after=View(looks[1].numbers, second, looks[1].answers) if len(looks) > 1 else None,
        changes=changed, closeups=close,
        examples={row: _seen(shown, place_of_row[row]) for row in sorted(wanted)},
        captions={row: caption(items, row) for row in sorted(wanted | {one.row for one in close})},
    )  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """One network and what was found in it."""

    stages: StageRows
    rows: dict[str, Tensor]
    numbers: list[StageNumbers]
    answers: Answers
    head: nn.Linear

    def logits(self, batch: Any) -> Tensor:
        """Of a batch of the network's inputs ``[B, C]``."""
        if isinstance(batch, Tensor):
            batch = batch.to(self.head.weight.device)
        with torch.no_grad(), evaluation_mode(self.stages.body.network):
            found: Tensor = self.head(self.stages.body(batch).float())
        return found.cpu()


def _look(
    encoder: Encoder, items: StoredSource, labels: Tensor, folds: Tensor, names: list[str], train: Any, cache: Any,
    options: dict[str, Any],
) -> _Look:  # fmt: skip
    from fewshot.embedding import embed

    if encoder.module is None:
        raise ValueError(
            f"{encoder.name!r} has no network, so there are no stages to look into; name one, such as "
            "'timm:mobilenetv2_100' or 'text:minilm'."
        )
    body = Body(encoder, tower_of(items))
    body.encoder.to(options["device"])
    stages = StageRows(body, Inputs(items, body.encoder).first(2, options["device"]))
    rows = stages.split(embed(items, stages, cache=cache, **options).features.float().cpu())
    numbers = [measure(name, part, labels, folds) for name, part in rows.items()]
    features = rows[FEATURES]
    if isinstance(encoder, TunedEncoder):
        head = head_for(encoder, names)
        answers = Answers.of_logits(head(features).detach(), "the tuned network's own head")
    elif train is not None:
        fitted = as_source(train, encoder)
        own = embed(fitted, body.encoder, cache=cache, **options).features.float().cpu()
        weight, bias = first_head("ridge", own, numbers_of(fitted, names), len(names))
        head = linear(weight, bias)
        answers = Answers.of_logits(head(features).detach(), f"a ridge head fitted to {len(own):,} other rows")
    else:
        head = linear(*first_head("ridge", features, labels, len(names)))
        answers = Answers(torch.from_numpy(numbers[-1].answers), None, "ridge regression over rows left out")
    return _Look(stages, rows, numbers, answers, head.requires_grad_(False).to(options["device"]))


def _closeup(
    looks: Sequence[_Look], items: StoredSource, labels: Tensor, row: int, at: int, names: list[str]
) -> Closeup:
    """One row, and what the answers of each network rest on."""
    answers, likely, maps = [], [], []
    importance: list[Any] = []
    given: Any = _text(items, at) if tower_of(items) == "texts" else None
    picture = None
    for look in looks:
        encoder = look.stages.body.encoder
        if tower_of(items) == "images":
            given = network_input(items, encoder, at).to(look.head.weight.device)
            picture = visible(given, encoder.transform) if given.ndim == 3 else None
            batch = given.unsqueeze(0)
        else:
            batch = [given]
        share = look.logits(batch).softmax(1)[0]
        chosen = int(share.argmax())
        answers.append(names[chosen])
        likely.append(float(share[chosen]))
        if tower_of(items) == "texts":
            importance.append(word_importance(look.logits, given, chosen))
        elif picture is not None:
            importance.append(picture_importance(look.logits, given, chosen))
            maps.append({name: value[0].float().cpu() for name, value in look.stages.maps(batch).items()})
    return Closeup(row, names[int(labels[at])], answers, likely, picture, importance, maps)


def _seen(items: StoredSource, at: int) -> Any:
    """A row as it is shown: a small picture, or the text."""
    if tower_of(items) == "texts":
        return _text(items, at)
    try:
        return thumbnail(as_picture(items.read(at)))
    except (ValueError, TypeError):  # rows that are no pictures, activations for instance
        return items.describe(at)


def check_same_origin(encoder: Encoder, after: Encoder | None) -> None:
    """Refuse a tuned encoder that began as another one.

    Raises:
        ValueError: it did.
    """
    if not isinstance(after, TunedEncoder):
        return
    try:
        known = digest(encoder.fingerprint)
    except (UnknownIdentityError, TypeError):  # then it is unknown
        return
    if after.base != known:
        raise ValueError(
            f"{after.name!r} was tuned from other weights, architecture or preprocessing than {encoder.name!r} has; "
            "give the encoder that it began with."
        )


def cache_for(encoder: Encoder, cache: Any) -> Any:
    """The cache given; none for an encoder without an identity."""
    try:
        _ = encoder.fingerprint
    except (UnknownIdentityError, TypeError):
        return False
    return cache


def _text(items: StoredSource, row: int) -> str:
    text: str = items.texts[row]  # type: ignore[attr-defined]
    return text
