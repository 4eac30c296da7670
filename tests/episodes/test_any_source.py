"""`as_source`: every form of the same pictures, torch datasets, names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_examples import encoder, write_photographs
from PIL import Image

from episodes import TensorSource
from episodes.image_source import ImageSource
from fewshot import embed


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"))


class Labelled(torch.utils.data.Dataset[Any]):
    """A torch dataset that refuses to be decoded before its time."""

    classes = ("night", "day")

    def __init__(self, images: list[Any]) -> None:
        self.images, self.targets, self.reads = images, [0, 1] * (len(images) // 2), 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        self.reads += 1
        return self.images[row], self.targets[row]


class TestDatasets:
    def test_names(self) -> None:
        source = embed("digits", "pixels", cache=False)
        assert source.features.shape == (1797, 64)
        assert source.name == "digits @ pixels"

    def test_every_form_of_the_same_pictures_gives_the_same_rows(self, photographs: list[Path]) -> None:
        pictures = [Image.open(path).convert("RGB").resize((30, 24)) for path in photographs[:6]]
        arrays = np.stack([np.asarray(picture) for picture in pictures])
        tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)
        labels = [0, 1] * 3
        forms: list[Any] = [
            pictures, list(arrays), arrays, tensor, tensor.float() / 255, ImageSource(pictures, labels),
            Labelled(pictures), Labelled(list(arrays)), Labelled(list(tensor)),
            torch.utils.data.Subset(Labelled(pictures * 2), range(6)),
        ]  # fmt: skip
        rows = [embed(form, encoder(), cache=False, storage="float32").features for form in forms]
        for other in rows[1:]:
            torch.testing.assert_close(other, rows[0], rtol=1e-4, atol=1e-5)

    def test_labels_of_a_torch_dataset(self, photographs: list[Path]) -> None:
        data = Labelled([Image.open(path).convert("RGB") for path in photographs[:6]])
        source = embed(torch.utils.data.Subset(data, [5, 2]), encoder(), cache=False)
        assert source.labels.tolist() == [1, 0]
        assert source.class_names == ["night", "day"]

    def test_folders_of_torchvision(self, photographs: list[Path], tmp_path: Path) -> None:
        from torchvision.datasets import ImageFolder

        for row, path in enumerate(photographs[:4]):
            folder = tmp_path / "ab"[row % 2]
            folder.mkdir(exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
        source = embed(ImageFolder(tmp_path), encoder(), cache=False)
        assert (source.class_names, source.labels.tolist()) == (["a", "b"], [0, 0, 1, 1])
        expected = embed([photographs[row] for row in (0, 2, 1, 3)], encoder(), cache=False)
        assert torch.equal(source.features, expected.features)

    def test_unlabelled_items_are_one_class(self, photographs: list[Path]) -> None:
        source = embed(photographs, encoder(), cache=False)
        assert (source.class_names, set(source.labels.tolist())) == (["unlabelled"], {0})

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ([], "dataset is empty"),
            (torch.rand(2, 3, 8, 8) * 5, "pixels are float32 from"),
            (torch.rand(2, 7), "which is no image"),
            (torch.utils.data.TensorDataset(torch.rand(2, 3)), "none of .targets"),
        ],
    )
    def test_what_cannot_be_embedded(self, data: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            embed(data, encoder(), cache=False)

    def test_labels_are_given_once(self) -> None:
        with pytest.raises(ValueError, match=r"has labels of its own"):
            embed(TensorSource(torch.eye(2), [0, 1]), "pixels", labels=[0, 1], cache=False)


class Column(Sequence[Any]):
    """A column of a table that is read row by row, as those of Hugging Face's `datasets` are."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


def test_rows_that_are_mappings(photographs: list[Path]) -> None:
    """`datasets` of Hugging Face, and lists of such rows: the items are asked for by themselves."""
    rows = [{"image": Image.open(path), "label": number} for number, path in enumerate(photographs[:2])]
    for given in (rows, Column(rows)):
        with pytest.raises(
            ValueError, match=r"mappings with the keys 'image', 'label'; give .* \[row\['image'\] for row"
        ):
            embed(given, encoder(), cache=False)
    with pytest.raises(ValueError, match="mappings with the keys"):
        embed(Column(rows), encoder(), labels=[0, 1], cache=False)
    images = Column([row["image"] for row in rows])
    listed = embed([row["image"] for row in rows], encoder(), labels=["b", "a"], cache=False)
    for labels in (["b", "a"], Column(["b", "a"])):
        found = embed(images, encoder(), labels=labels, cache=False)
        assert (found.class_names, found.labels.tolist()) == (["a", "b"], [1, 0])
        torch.testing.assert_close(found.features, listed.features)
    assert embed(images, encoder(), cache=False).class_names == ["unlabelled"]
