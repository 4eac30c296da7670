"""Zero-shot learning from attributes, ConSE, and generalised metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch.nn.functional import normalize

from fewshot.zsl import ESZSL, DeViSE, conse, generalised

DATA = Path(__file__).parents[3] / "shared" / "data"


def world(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classes whose features are a linear map of their attributes, with noise: rows, labels, attributes."""
    generator = torch.Generator().manual_seed(seed)
    attributes = torch.randn(12, 6, generator=generator)
    mixing = torch.randn(6, 20, generator=generator)
    labels = torch.arange(12).repeat_interleave(25)
    return (attributes @ mixing)[labels] + 0.5 * torch.randn(300, 20, generator=generator), labels, attributes


@pytest.mark.parametrize("model", [ESZSL(), DeViSE(lr=0.01)], ids=["eszsl", "devise"])
def test_unseen_classes_are_recognised_by_their_attributes(model: ESZSL) -> None:
    rows, labels, attributes = world()
    seen = labels < 9
    model.fit(rows[seen], labels[seen], attributes[:9])
    answers = model.scores(rows[~seen], attributes[9:]).argmax(1) + 9
    assert (answers == labels[~seen]).double().mean() > 0.8


def test_eszsl_is_its_formula() -> None:
    rows, labels, attributes = world()
    x, s = rows.double().numpy(), attributes.double().numpy()
    y = np.eye(12)[labels.numpy()]
    wanted = np.linalg.inv(x.T @ x + 3 * np.eye(20)) @ x.T @ y @ s @ np.linalg.inv(s.T @ s + 0.2 * np.eye(6))
    found = ESZSL(3.0, 0.2).fit(rows, labels, attributes)
    np.testing.assert_allclose(found.matrix_.numpy(), wanted, rtol=1e-8)


def test_conse_mixes_the_most_probable() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2]])
    known, wanted = torch.eye(3), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    mixed = normalize(torch.tensor([[0.5, 0.3, 0.0]]), dim=-1)
    torch.testing.assert_close(conse(probabilities, known, wanted, top=2), mixed @ wanted.T)
    with pytest.raises(ValueError, match="top=0"):
        conse(probabilities, known, wanted, top=0)


def test_generalised_marks_equal_a_slow_count() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(6).repeat_interleave(torch.tensor([10, 4, 7, 9, 3, 8]))
    seen = torch.tensor([True, True, True, True, False, False])
    scores = torch.randn(len(labels), 6, generator=generator) + 1.5 * torch.eye(6)[labels] + seen
    curve = []
    for amount in [*np.linspace(-6, 8, 3000), 0.7]:
        answers = (scores - amount * seen).argmax(1)
        right = [float((answers[labels == c] == c).double().mean()) for c in range(6)]
        curve.append((np.mean(right[4:]), np.mean(right[:4])))
    found = generalised(scores, labels, seen, held_back=0.7)
    u, s = curve.pop()
    assert found[:3] == pytest.approx((u, s, 2 * u * s / (u + s)))
    points = np.array(curve)
    assert found.ausuc == pytest.approx(abs(trapezoid(points[:, 1], points[:, 0])), abs=5e-3)
    assert generalised(scores, labels, seen).unseen < found.unseen
    with pytest.raises(ValueError, match="need both"):
        generalised(scores[:10], labels[:10], seen)


def test_wrong_shapes_are_explained() -> None:
    rows, labels, attributes = world()
    with pytest.raises(ValueError, match="not fitted"):
        ESZSL().scores(rows, attributes)
    with pytest.raises(ValueError, match="one label per row"):
        ESZSL().fit(rows, labels[:5], attributes)
    with pytest.raises(ValueError, match="fitted were 20 and 6"):
        ESZSL().fit(rows, labels, attributes).scores(rows[:, :3], attributes)
    with pytest.raises(ValueError, match="gamma=0"):
        ESZSL(gamma=0)


@pytest.mark.skipif(not (DATA / "zsl_attributes").exists(), reason="needs the real attributes beside the checkout")
def test_animals_by_their_attributes() -> None:
    """AwA2's attributes and CLIP features of the ImageNet classes that are its animals: seven unseen ones."""
    folder = DATA / "zsl_attributes" / "awa2"
    animals = [line.split()[-1].replace("+", " ") for line in (folder / "classes.txt").read_text().splitlines()]
    matrix = torch.from_numpy(np.loadtxt(folder / "predicate-matrix-binary.txt").astype(np.float32))
    with np.load(DATA / "clip_vitb32" / "imagenet.npz") as file:
        names = [str(name).lower() for name in file["classnames"]]
        rows = np.concatenate([file[f"support{k}_X"] for k in (1, 2, 4)]).astype(np.float32)
        numbers = np.concatenate([file[f"support{k}_y"] for k in (1, 2, 4)])
    pairs = [(number, animals.index(name)) for number, name in enumerate(names) if name in animals]
    assert len(pairs) >= 15
    keep = np.isin(numbers, [number for number, _ in pairs])
    place = {number: i for i, (number, _) in enumerate(pairs)}
    labels = torch.tensor([place[int(number)] for number in numbers[keep]])
    features = normalize(torch.from_numpy(rows[keep]), dim=-1)
    attributes = normalize(matrix[[animal for _, animal in pairs]], dim=-1)
    unseen = torch.zeros(len(pairs), dtype=torch.bool)
    unseen[2::4] = True
    seen_rows = ~unseen[labels]
    order = torch.cumsum(~unseen, 0) - 1
    model = ESZSL(gamma=1.0, lam=1.0).fit(features[seen_rows], order[labels[seen_rows]], attributes[~unseen])
    scores = model.scores(features, attributes)
    alone = scores[~seen_rows][:, unseen].argmax(1)
    right = float((unseen.nonzero().squeeze(1)[alone] == labels[~seen_rows]).double().mean())
    assert right > 0.6  # of five animals never seen, chance 0.2
    marks = generalised(scores, labels, ~unseen)
    assert marks.seen > marks.unseen  # unseen classes lose to seen ones until those are held back
