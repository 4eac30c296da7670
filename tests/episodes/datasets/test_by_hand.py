"""Datasets that their users fetch: CUB, and the eleven of CoOp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes import load_dataset
from episodes.splits import load_split


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 10, 3), level, np.uint8)).save(path)


def test_cub(tmp_path: Path) -> None:
    birds = load_split("cub")["val"]
    for number, bird in enumerate(birds):
        picture(tmp_path / "CUB_200_2011" / "images" / bird / "one.jpg", number)
        (tmp_path / "CUB_200_2011" / "images" / bird / "._one.jpg").write_bytes(b"")
    found = load_dataset("cub:val(size=8)", root=tmp_path)
    assert (found.name, found.class_names, len(found)) == ("cub:val", birds, 50)
    assert found[3].shape == (3, 8, 8)
    assert found.labels.tolist() == list(range(50))
    with pytest.raises(FileNotFoundError, match=r"no pictures of '001.Black_footed_Albatross'.*unpack the archive"):
        load_dataset("cub:train", root=tmp_path)
    with pytest.raises(ValueError, match="split='birds'; it must be"):
        load_dataset("cub(split='birds')", root=tmp_path)


@pytest.mark.parametrize(("spec", "needed"), [("cub:test", "CUB_200_2011/images"), ("coop:dtd", "split_zhou_Des")])
def test_missing_files_say_where_they_come_from(spec: str, needed: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{needed}.*root=.*not downloaded by this library; see https://"):
        load_dataset(spec, root=tmp_path)


def test_a_split_of_coop(tmp_path: Path) -> None:
    rows = [["b/1.jpg", 1, "tabby cat"], ["a/1.jpg", 0, "basset hound"], ["b/2.jpg", 1, "tabby cat"]]
    for file, label, _ in rows:
        picture(tmp_path / "oxford_pets" / "images" / file, 100 * label)
    table = tmp_path / "oxford_pets" / "split_zhou_OxfordPets.json"
    table.write_text(json.dumps({"train": rows[:2], "val": [], "test": rows}))
    found = load_dataset("coop:oxford_pets", root=tmp_path)
    assert (found.name, found.class_names) == ("coop:oxford_pets(test)", ["basset hound", "tabby cat"])
    assert found.labels.tolist() == [1, 0, 1]
    assert float(found[1].max()) < 0.01 < float(found[0].max())
    assert len(load_dataset("coop:oxford_pets(part='train')", root=tmp_path)) == 2
    with pytest.raises(ValueError, match="unknown part of 'coop:oxford_pets' 'tests'"):
        load_dataset("coop:oxford_pets(part='tests')", root=tmp_path)
    with pytest.raises(ValueError, match="name one of train, val, test"):
        load_dataset("coop:oxford_pets(part='train+val')", root=tmp_path)
    with pytest.raises(ValueError, match="unknown dataset of 'coop' 'pets'"):
        load_dataset("coop:pets", root=tmp_path)
    table.write_text('{"test": [["b/1.jpg", 1]]}')
    with pytest.raises(ValueError, match="is no table of test rows"):
        load_dataset("coop:oxford_pets", root=tmp_path)


def test_aircraft_and_imagenet_have_lists_of_their_own(tmp_path: Path) -> None:
    planes = tmp_path / "fgvc_aircraft"
    picture(planes / "images" / "0034309.jpg", 5)
    (planes / "variants.txt").write_text("707-320\nBoeing 717\n")
    (planes / "images_variant_test.txt").write_text("0034309 Boeing 717\n")
    found = load_dataset("coop:fgvc_aircraft", root=tmp_path)
    assert ([found.class_names[int(label)] for label in found.labels], found[0].shape) == (
        ["Boeing 717"],
        (3, 224, 224),
    )
    (planes / "images_variant_val.txt").write_text("0034309 Concorde\n")
    with pytest.raises(ValueError, match=r"'Concorde' in images_variant_val.txt is not in variants.txt"):
        load_dataset("coop:fgvc_aircraft(part='val')", root=tmp_path)
    for number in ("n01", "n02"):
        picture(tmp_path / "imagenet" / "images" / "val" / number / "x.JPEG", 7)
    (tmp_path / "imagenet" / "classnames.txt").write_text("n01 tench\nn02 great white shark\n")
    assert load_dataset("coop:imagenet", root=tmp_path).class_names == ["tench", "great white shark"]
    with pytest.raises(ValueError, match="unknown part"):
        load_dataset("coop:imagenet(part='val')", root=tmp_path)
