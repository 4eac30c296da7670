"""P(y | x, T): what a task description gains, on drawn scenes and on real texts.

    python benchmarks/task_conditioning.py --data ../shared/data

The same scenes carry six label spaces; the same film reviews, trivia questions and messages to a bank are classified
by topic, and each by its own labels (sentiment, kind of answer, intent). For each, T in several wordings that the
rules of the library were not written on, against the bare class name, one standard template, the uniform pool and
"{label}, {T}". Accuracy in % over all rows; T and "{label}, T" are means over the wordings, their range in brackets.
The difference of T from the best of the others is paired by row, with its 95 % interval and an exact sign-flip test.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from episodes import TextSource, load_dataset
from episodes.sign_flip import sign_flip_test
from episodes.statistics import paired_interval
from fewshot import Prompts, embed, load_encoder
from fewshot.prompts.pool import pool

SCENES = {
    "shape": ("the kind of geometric figure", "what shape is drawn?", "name the form", "the outline of the object",
              "sort the pictures by shape", "geometry"),
    "colour": ("the object's colour", "which paint was used for the object", "sort the objects by hue",
               "what color is the thing in front?", "object tint", "the shade of the figure"),
    "background": ("the color of the backdrop", "what is behind the object", "the ground colour",
                   "the colour surrounding the object", "wall colour behind the figure", "the background"),
    "texture": ("the pattern on the object", "surface pattern", "is it plain, striped, dotted or checkered?",
                "how the surface looks", "textile-like pattern of the figure", "the weave"),
    "size": ("how big the object is", "dimensions of the thing", "small or large?", "the object's size", "magnitude",
             "scale of the drawing"),
    "position": ("the place of the object in the frame", "on which side is it?", "location",
                 "where the figure was put", "the spot where the object lies", "object placement"),
    "pair": ("the colour and shape of the object", "which coloured figure is it?", "coloured shapes", "what is shown",
             "the object", "identify the thing"),
}  # fmt: skip
TEXTS = {
    "topic": ("the theme of a text", "which domain does the text belong to?", "subjects discussed", "sort by topic"),
    "sentiment": ("does the reviewer like it?", "polarity of film reviews", "the tone of the review", "movie ratings"),
    "kind of answer": ("what sort of thing is asked for", "the category of the answer", "question classification",
                       "what should the answer be"),
    "intent": ("why the customer writes", "requests to a bank's support", "what a client of the bank asks about",
               "customer service intents"),
}  # fmt: skip


def scenes(count: int) -> tuple[Tensor, dict[str, tuple[Tensor, list[str]]], str]:
    """Rows, and labels with names for each label space."""
    source = load_dataset("scenes:shape", count=count, seed=2024)
    rows = embed(source, "fewshot:tiny-clip", cache=False, progress=False, storage="float32").features
    spaces = {}
    for space in SCENES:
        labelled = load_dataset(f"scenes:{space}", count=count, seed=2024)
        spaces[space] = labelled.labels, labelled.class_names
    return rows, spaces, "fewshot:tiny-clip"


def texts(folder: Path) -> dict[str, tuple[list[str], Tensor, list[str]]]:
    """Texts, labels and names of four tasks; those of the first are a mixture of the others'."""
    with open(folder / "text" / "banking77" / "banking_data" / "test.csv", encoding="utf-8") as file:
        bank = list(csv.DictReader(file))
    intents = sorted({row["category"] for row in bank})
    films, trivia = _sentconv(folder, "stsa.binary.test"), _sentconv(folder, "TREC.test.all")
    answers = ["description", "entity", "abbreviation", "human", "location", "number"]
    mixed = [*films[0][:500], *trivia[0][:500], *(row["text"] for row in bank[:500])]
    topic = torch.arange(3).repeat_interleave(500)
    return {
        "topic": (mixed, topic, ["films", "general knowledge", "banking"]),
        "sentiment": (*films, ["negative", "positive"]),
        "kind of answer": (*trivia, answers),
        "intent": (
            [row["text"] for row in bank],
            torch.tensor([intents.index(row["category"]) for row in bank]),
            intents,
        ),
    }


GARMENTS = ("types of clothing", "garments in photographs", "what the person wears", "pieces of apparel for sale")


def photographs(folder: Path, cache: str | None) -> tuple[Tensor, Tensor, list[str]]:
    """Real photographs of garments without an image-text model, by ConSE: what MobileNetV2 takes them for, in words."""
    from safetensors.torch import load_file

    weights = load_file(folder / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors")
    with np.load(folder / "mobilenet_features" / "clothing_testval.npz") as file:
        rows, labels = torch.from_numpy(file["X"].astype(np.float32)), torch.from_numpy(file["y"].astype(np.int64))
        names = [str(name) for name in file["classes"]]
    logits = rows @ weights["classifier.weight"].float().T + weights["classifier.bias"].float()
    share, index = logits[:, 1:].softmax(1).topk(10, 1)  # class 0 is background
    lines = (folder / "coral_tflite" / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()[1:1001]
    source = TextSource(lines, torch.zeros(1000, dtype=torch.int64), ["text"])
    known = embed(source, "text:minilm", cache=cache, progress=False, storage="float32").features
    return (share.unsqueeze(-1) * normalize(known, dim=-1)[index]).sum(1), labels, names


def _sentconv(folder: Path, name: str) -> tuple[list[str], Tensor]:
    lines = (folder / "text" / "sentconv" / "data" / name).read_text(encoding="latin-1").splitlines()
    pairs = [line.partition(" ") for line in lines if line.strip()]
    return [text for _, _, text in pairs], torch.tensor([int(label) for label, _, _ in pairs])


def row(
    title: str, rows: Tensor, labels: Tensor, names: Sequence[str], wordings: Sequence[str], encoder: str, kind: str,
    cache: str | None,
) -> tuple[str, list[float]]:  # fmt: skip
    """A line of the table, and its accuracies."""
    model, units = load_encoder(encoder), normalize(rows.float(), dim=-1)

    def right(prompts: Prompts) -> np.ndarray:
        vectors = prompts.encode(model, cache=cache)
        return ((units @ vectors.T).argmax(1) == labels).double().numpy()

    standard = "a photo of a {label}" if kind == "images" else "This text is about {label}."
    found = {
        "name": right(Prompts(names, "{label}")),
        "standard": right(Prompts(names, standard)),
        "pool": right(Prompts(names, [entry.template for entry in pool(kind)])),
    }
    joined = [right(Prompts(names, "{label}, " + wording)) for wording in wordings]
    described = [right(Prompts(names, task=wording)) for wording in wordings]
    found["{label}, T"], found["T"] = np.mean(joined, 0), np.mean(described, 0)
    best = max((name for name in found if name != "T"), key=lambda name: found[name].mean())
    difference = found["T"] - found[best]
    half = paired_interval(found["T"], found[best])
    p = sign_flip_test(difference)
    cells = [f"{100 * found[name].mean():.1f}" for name in ("name", "standard", "pool", "{label}, T", "T")]
    for place, each in ((3, joined), (4, described)):
        values = [100 * one.mean() for one in each]
        cells[place] += f" [{min(values):.0f}, {max(values):.0f}]"
    line = f"| {title} ({len(names)}) | " + " | ".join(cells)
    line += f" | {100 * difference.mean():+.1f} ± {100 * half:.1f} of {best}, p = {p:.2g} |"
    return line, [found[name].mean() for name in ("name", "standard", "pool", "{label}, T", "T")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real texts; without it the scenes alone")
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--cache", help="embedding cache (default: the user's)")
    options = parser.parse_args()
    head = (
        "| bare name | standard template | uniform pool | `{label}, {T}` | T | T against the best other |\n"
        + "|---" * 7
        + "|"
    )
    rows, spaces, encoder = scenes(options.scenes)
    print(f"| scenes, label space {head}")
    total = []
    for space, (labels, names) in spaces.items():
        line, values = row(space, rows, labels, names, SCENES[space], encoder, "images", options.cache)
        print(line, flush=True)
        total.append(values)
    print("| **mean** | " + " | ".join(f"{100 * value:.1f}" for value in np.mean(total, 0)) + " | |\n")
    if options.data is None:
        return
    print(f"| texts, task {head}")
    total = []
    for task, (strings, labels, names) in texts(options.data).items():
        source = TextSource(strings, torch.zeros(len(strings), dtype=torch.int64), ["text"])
        vectors = embed(source, "text:minilm", cache=options.cache, progress=False, storage="float32").features
        line, values = row(task, vectors, labels, names, TEXTS[task], "text:minilm", "texts", options.cache)
        print(line, flush=True)
        total.append(values)
    print("| **mean** | " + " | ".join(f"{100 * value:.1f}" for value in np.mean(total, 0)) + " | |\n")
    print(f"| photographs by ConSE {head}")
    mixed, labels, names = photographs(options.data, options.cache)
    print(row("garment", mixed, labels, names, GARMENTS, "text:minilm", "images", options.cache)[0])


if __name__ == "__main__":
    main()
