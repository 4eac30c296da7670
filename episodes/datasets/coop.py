"""The eleven datasets that prompt learning is compared on, in the folders and splits of CoOp."""

from __future__ import annotations

import json
import os
from pathlib import Path

from episodes.datasets.cub import labelled_folders
from episodes.datasets.files import choose_part, data_root, require_by_hand
from episodes.image_source import ImageSource
from episodes.registry import unknown

# folder -> (pictures in it, table of the split); aircraft and ImageNet come with lists of their own.
_SETS = {
    "caltech-101": ("101_ObjectCategories", "split_zhou_Caltech101.json"),
    "dtd": ("images", "split_zhou_DescribableTextures.json"),
    "eurosat": ("2750", "split_zhou_EuroSAT.json"),
    "fgvc_aircraft": ("images", "variants.txt"),
    "food-101": ("images", "split_zhou_Food101.json"),
    "imagenet": ("images", "classnames.txt"),
    "oxford_flowers": ("jpg", "split_zhou_OxfordFlowers.json"),
    "oxford_pets": ("images", "split_zhou_OxfordPets.json"),
    "stanford_cars": ("", "split_zhou_StanfordCars.json"),
    "sun397": ("SUN397", "split_zhou_SUN397.json"),
    "ucf101": ("UCF-101-midframes", "split_zhou_UCF101.json"),
}
_WHERE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"


def coop(
    path: str, *, part: str = "test", root: str | os.PathLike[str] | None = None,
    size: int = 224, workers: int | None = None,
) -> ImageSource:  # fmt: skip
    """Photographs with class names as words: ``"coop:oxford_pets"``, ``"coop:dtd(part='train')"``.

    Args:
        path: the dataset, by its folder: caltech-101, dtd, eurosat, fgvc_aircraft, food-101, imagenet,
            oxford_flowers, oxford_pets, stanford_cars, sun397, ucf101.
        part: ``"train"``, ``"val"`` or ``"test"``, which share their classes; of ImageNet ``"test"`` is the
            validation set, and there is no ``"val"``.
        root: holds these folders.
        size: height and width in pixels where no encoder brings its own transform.
        workers: decoding threads.

    Raises:
        ValueError: unknown dataset or part, or a damaged table.
        FileNotFoundError: the files are missing.

    Reference: Zhou, Yang, Loy, Liu, "Learning to prompt for vision-language models", IJCV 2022, arXiv:2109.01134.
    """
    if path not in _SETS:
        raise ValueError(unknown("dataset of 'coop'", path, sorted(_SETS)))
    parts = ["train", "test"] if path == "imagenet" else ["train", "val", "test"]
    chosen = choose_part(f"coop:{path}", part, parts)
    if len(chosen) != 1:
        raise ValueError(f"part={part!r} of 'coop:{path}'; name one of {', '.join(parts)}.")
    home, (pictures, table) = data_root(root), _SETS[path]
    needed = [f"{path}/{table}", *([f"{path}/{pictures}"] if pictures else [])]
    require_by_hand(f"coop:{path}", home, needed, _WHERE)
    name = f"coop:{path}({chosen[0]})"
    folder = home / path
    if path == "imagenet":
        return _imagenet(folder, chosen[0], name, size, workers)
    rows = _aircraft(folder, chosen[0]) if path == "fgvc_aircraft" else _split(folder / table, chosen[0])
    names = {label: words for _, label, words in rows}
    number = {label: place for place, label in enumerate(sorted(names))}
    return ImageSource(
        [folder / pictures / file for file, _, _ in rows], [number[label] for _, label, _ in rows],
        [names[label] for label in sorted(names)], size=size, workers=workers, name=name,
    )  # fmt: skip


def _split(table: Path, part: str) -> list[tuple[str, int, str]]:
    """File, label and words of each row."""
    try:
        held = json.loads(table.read_text(encoding="utf-8"))[part]
        return [(str(file), int(label), str(words)) for file, label, words in held]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(table)!r} is no table of {part} rows ({error!r}); fetch it again.") from None


def _aircraft(folder: Path, part: str) -> list[tuple[str, int, str]]:
    variants = (folder / "variants.txt").read_text(encoding="utf-8").splitlines()
    number = {variant.strip(): place for place, variant in enumerate(variants) if variant.strip()}
    lines = (folder / f"images_variant_{part}.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.strip().split(" ", 1) for line in lines if line.strip()]
    stray = [variant for _, variant in rows if variant not in number]
    if stray:
        raise ValueError(f"{stray[0]!r} in images_variant_{part}.txt is not in variants.txt.")
    return [(f"{picture}.jpg", number[variant], variant) for picture, variant in rows]


def _imagenet(folder: Path, part: str, name: str, size: int, workers: int | None) -> ImageSource:
    lines = [
        line.split(" ", 1) for line in (folder / "classnames.txt").read_text(encoding="utf-8").splitlines() if line
    ]
    half = folder / "images" / ("val" if part == "test" else "train")
    found = labelled_folders("coop:imagenet", half, [number for number, _ in lines], name, size, workers)
    return ImageSource(
        found.items, found.labels, [words.strip() for _, words in lines], size=size, workers=workers, name=name
    )
