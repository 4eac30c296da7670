"""Standard class splits, and the checks against leakage."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import ImageSource, TensorSource, TextSource, list_splits, load_split
from episodes.splits import check_disjoint, check_leakage, select_classes, split_source

PUBLISHED = {
    "cifar-fs": (64, 16, 20),
    "cub": (100, 50, 50),
    "cub-meta-dataset": (140, 30, 30),
    "fc100": (60, 20, 20),
    "omniglot": (1028, 172, 423),
    "tieredimagenet": (351, 97, 160),
}


def test_every_shipped_split_is_expected() -> None:
    assert list_splits() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_split_is_disjoint_sorted_cited_and_of_published_size(name: str) -> None:
    split = load_split(name)
    assert list(split) == ["train", "val", "test"]
    assert tuple(len(names) for names in split.values()) == PUBLISHED[name]
    check_disjoint(split, name)
    for one, other in combinations(split.values(), 2):  # the check itself is not trusted here
        assert not set(one) & set(other)
    assert all(names == sorted(names) and all(names) for names in split.values())
    assert "arXiv:" in split_source(name)


def test_splits_of_one_dataset_name_the_same_classes() -> None:
    def everything(name: str) -> set[str]:
        return set().union(*load_split(name).values())

    assert everything("cifar-fs") == everything("fc100")
    assert everything("cub") == everything("cub-meta-dataset")
    assert sorted(int(name[:3]) for name in everything("cub")) == list(range(1, 201))
    assert len({name.split("/")[0] for name in everything("omniglot")}) == 50


def test_cub_takes_every_other_class() -> None:
    numbers = {part: [int(name[:3]) for name in names] for part, names in load_split("cub").items()}
    assert numbers["train"] == list(range(1, 201, 2))
    assert numbers["val"] == list(range(2, 201, 4))
    assert numbers["test"] == list(range(4, 201, 4))


def test_fc100_keeps_superclasses_whole() -> None:
    split = load_split("fc100")
    for part, whole in (
        ("train", {"maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"}),
        ("val", {"bear", "leopard", "lion", "tiger", "wolf"}),
        ("test", {"baby", "boy", "girl", "man", "woman"}),
    ):
        assert whole <= set(split[part])


def test_the_facts_agree_with_their_sources(shared_data: Path) -> None:
    lists = shared_data / "splits" / "jakesnell_vinyals" / "data" / "omniglot" / "splits" / "vinyals"
    for part, names in load_split("omniglot").items():
        turned = (lists / f"{part}.txt").read_text().split()
        assert sorted({name.rsplit("/", 1)[0] for name in turned}) == names
        assert len(turned) == 4 * len(names)


def test_loading_gives_a_copy() -> None:
    load_split("cub")["train"].clear()
    assert len(load_split("cub")["train"]) == 100


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match=r"unknown split 'cifarfs'; did you mean 'cifar-fs'"):
        load_split("cifarfs")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": ["a", "b"], "test": ["b"]}, "parts 'train' and 'test' of birds share 1 class: 'b'; keep"),
        (
            {"train": list("abcd"), "val": ["e"], "test": list("abcd")},
            r"parts 'train' and 'test' of birds share 4 classes: 'a', 'b', 'c', \.\.\.;",
        ),
        ({"train": ["a"], "val": ["b", "b"]}, "part 'val' of birds repeats 1 class: 'b'"),
    ],
)
def test_shared_classes_are_named(split: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_disjoint(split, "birds")


# Selection.


def test_select_classes_renumbers() -> None:
    source = TensorSource(torch.arange(12.0).reshape(6, 2), ["a", "b", "c", "a", "b", "c"], name="whole")
    part = select_classes(source, ["c", "a"], "part")
    assert (part.class_names, part.labels.tolist(), part.name) == (["c", "a"], [1, 0, 1, 0], "part")
    torch.testing.assert_close(part[torch.arange(4)], source[[0, 2, 3, 5]])
    assert (source.class_names, source.labels.tolist()) == (["a", "b", "c"], [0, 1, 2, 0, 1, 2])
    texts = select_classes(TextSource(["x", "y"], ["a", "b"]), ["b"])
    assert (texts.texts, texts.labels.tolist()) == (["y"], [0])
    with pytest.raises(ValueError, match="unknown class of 'whole' 'd'"):
        select_classes(source, ["d"])
    with pytest.raises(ValueError, match="'a' is selected twice"):
        select_classes(source, ["a", "a"])


# Leakage.


def noise(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))


def test_clean_sources() -> None:
    base = TensorSource(noise(200, 0), ["owl", "crow"] * 100, name="base")
    novel = TensorSource(noise(100, 1), ["jay", "kite"] * 50, name="novel")
    leakage = check_leakage(base, novel)
    assert not leakage
    assert str(leakage) == "'base' and 'novel' share no class and no row."


def test_planted_rows_and_classes_are_found() -> None:
    base = TensorSource(noise(200, 0), ["owl", "crow"] * 100, name="base")
    rows = noise(100, 1)
    rows[[5, 70]] = base.features[[199, 3]]
    novel = TensorSource(rows, ["jay", "crow"] * 50, name="novel")
    leakage = check_leakage(base, novel, strict=False)
    assert leakage.rows == [(199, 5), (3, 70)]
    assert leakage.classes == ["crow"]
    with pytest.raises(
        ValueError,
        match=r"^'base' and 'novel' share 1 class \('crow'\) and 2 identical rows "
        r"\(199 = 5, 3 = 70\)\. Remove",
    ):
        check_leakage(base, novel)


def test_classes_without_rows_do_not_count() -> None:
    whole = TensorSource(noise(4, 0), [0, 0, 1, 1], ["owl", "crow"])
    assert not check_leakage(whole.select(whole.labels == 0), whole.select(whole.labels == 1))


def test_equal_pixels_in_other_types_are_found() -> None:
    pixels = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    base = TensorSource(pixels, ["a", "b", "c"])
    novel = TensorSource(pixels[1:2].float() / 255, ["d"])
    assert check_leakage(base, novel, strict=False).rows == [(1, 0)]


def test_copied_files_are_found(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(pixels[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "1.png").read_bytes())
    base = ImageSource([tmp_path / "0.png", tmp_path / "1.png"], ["a", "b"])
    novel = ImageSource([tmp_path / "2.png", tmp_path / "copy.png"], ["c", "d"])
    assert check_leakage(base, novel, strict=False).rows == [(1, 1)]


def test_texts_and_unlike_sources() -> None:
    texts = TextSource(["hello", "bye"], ["a", "b"], name="texts")
    assert check_leakage(texts, TextSource(["bye"], ["c"]), strict=False).rows == [(1, 0)]
    with pytest.raises(ValueError, match="'texts' holds texts and 'features' features"):
        check_leakage(texts, TensorSource(noise(2, 0), [0, 1]))
    pictures = ImageSource([np.zeros((4, 4, 3), np.uint8)], ["a"])
    with pytest.raises(ValueError, match="'images' is compared by its files and 'memory' by its numbers"):
        check_leakage(pictures, TensorSource(torch.zeros(1, 3, 4, 4), ["b"], name="memory"))
