"""Prompts: templates, descriptions, task descriptions, and each string encoded once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fewshot import EmbeddingCache, Prompts, load_encoder
from fewshot.encoders import Encoder
from fewshot.encoders.bundled import FOLDER
from fewshot.prompts import list_templates, load_templates, weigh_templates
from fewshot.prompts.pool import pool
from fewshot.prompts.task import candidates
from fewshot.prompts.unlabelled import class_weights, without_label_bias, zero_shot_weights

NAMES = ["red circle", "blue star", "green ring"]


class Letters(Encoder):
    """Counts letters, and what it was asked."""

    name, dim = "letters", 27

    def __init__(self) -> None:
        self.asked: list[str] = []

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"family": "letters"}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.tensor(
            [[text.lower().count(chr(97 + i)) + 0.1 for i in range(26)] + [len(text)] for text in texts]
        )


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_encoder("fewshot:tiny-clip")


def test_text_vectors_are_those_of_open_clip(tiny: Any) -> None:
    templates = load_templates("openai")
    tokenizer = open_clip.get_tokenizer(
        f"local-dir:{FOLDER / 'tiny-clip'}", bpe_path=str(FOLDER / "tiny-clip" / "merges.txt.gz")
    )
    theirs = open_clip.build_zero_shot_classifier(
        tiny.module, tokenizer, NAMES, [template.replace("{label}", "{}") for template in templates]
    )
    ours = Prompts(NAMES, "openai").encode(tiny, cache=False)
    torch.testing.assert_close(ours, theirs.T, atol=1e-5, rtol=1e-5)


def test_vectors_are_weighted_means_of_unit_vectors() -> None:
    encoder = Letters()
    prompts = Prompts(
        ["barn_owl", "crow"], ["a {label}", "one {label} here"], descriptions={"crow": ["black feathers"]}
    )
    lines = prompts.lines(encoder)
    assert [line.text for line in lines] == [
        "a barn owl", "one barn owl here", "a crow, which has black feathers", "a crow", "one crow here",
    ]  # fmt: skip
    rows = normalize(encoder.encode_texts([line.text for line in lines]), dim=-1)
    wanted = normalize(torch.stack([rows[:2].mean(0), rows[2:].mean(0)]), dim=-1)
    torch.testing.assert_close(prompts.encode(encoder, cache=False), wanted)


def test_a_changed_list_encodes_only_what_is_new(tmp_path: Path) -> None:
    encoder, cache = Letters(), EmbeddingCache(tmp_path)
    Prompts(["owl", "crow"], ["a {label}", "the {label}"]).encode(encoder, cache=cache)
    encoder.asked.clear()
    Prompts(["owl", "crow", "hen"], ["a {label}", "the {label}", "my {label}"]).encode(encoder, cache=cache)
    canaries = [text for text in encoder.asked if "owl" not in text and "crow" not in text and "hen" not in text]
    assert sorted(set(encoder.asked) - set(canaries)) == ["a hen", "my crow", "my hen", "my owl", "the hen"]


def test_thousands_of_sentences_in_bounded_memory() -> None:
    names = [f"class {number}" for number in range(1000)]
    vectors = Prompts(names, "openai").encode(Letters(), cache=False)
    assert vectors.shape == (1000, 27)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1000))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Prompts(["owl", "Owl_", "owl "]), "two classes are called 'owl'"),
        (lambda: Prompts(["owl", " "]), "class 1 has an empty name"),
        (lambda: Prompts([]), "no class names"),
        (lambda: Prompts("owl"), "give a list"),
        (lambda: Prompts(["owl"], []), "list of templates is empty"),
        (lambda: Prompts(["owl"], [""]), "is no template"),
        (lambda: Prompts(["owl"], "opnai"), "did you mean 'openai'"),
        (lambda: Prompts(["owl"], "a photo of an owl {x}"), "has {x}"),
        (lambda: Prompts(["owl"], ["an owl"]), "has no {label}"),
        (lambda: Prompts(["owl"], task=" "), "task description is empty"),
        (lambda: Prompts(["owl"], descriptions={"crow": ["black"]}), "'crow', which is no class"),
        (lambda: Prompts(["owl"], descriptions={"owl": [""]}), "non-empty"),
        (lambda: Prompts(["owl"], description_style="dclip"), "sentence, feature"),
        (lambda: Prompts(["owl"], "photo").encode("pixels"), "no tower for texts"),
        (lambda: Prompts(["owl"]).weigh(), "no task description"),
    ],
)  # fmt: skip
def test_bad_prompts_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_templates_of_other_collections_convert(tmp_path: Path) -> None:
    content = {"cars": ["a photo of a {c}.", "the {classname}"], "pets": ["{}, a pet"]}
    (tmp_path / "templates.json").write_text(json.dumps(content))
    assert load_templates(f"{tmp_path}/templates.json#cars") == ["a photo of a {label}.", "the {label}"]
    assert load_templates(f"{tmp_path}/templates.json#pets") == ["{label}, a pet"]
    with pytest.raises(ValueError, match="several sets; add '#' and one of cars, pets"):
        load_templates(f"{tmp_path}/templates.json")
    for name in list_templates():
        assert all("{label}" in template for template in load_templates(name))


def test_descriptions_from_a_file_in_both_styles(tmp_path: Path) -> None:
    texts = {
        "Barn-Owl": ["A barn owl has a white face.", "a bird of prey", "often white", "antennae"],
        "crow": "used in tales",
    }
    (tmp_path / "d.json").write_text(json.dumps(texts))
    lines = [line.text for line in Prompts(["barn_owl", "crow"], descriptions=tmp_path / "d.json").lines()]
    assert lines == [
        "A barn owl has a white face.", "a photo of a barn owl, which is a bird of prey",
        "a photo of a barn owl, which often white", "a photo of a barn owl, which has antennae",
        "a photo of a crow, which is used in tales",
    ]  # fmt: skip


def test_random_words_are_the_same_for_all_classes_and_runs() -> None:
    prompts = Prompts(["barn owl", "crow"], "photo", random_words=3, seed=1)
    lines = prompts.lines()
    endings = [{line.text.partition(", which has ")[2] for line in lines if line.label == label} for label in (0, 1)]
    assert endings[0] == endings[1] and len(endings[0]) == 7  # six features, and the plain template's nothing
    assert lines == Prompts(["barn owl", "crow"], "photo", random_words=3, seed=1).lines()
    assert lines != Prompts(["barn owl", "crow"], "photo", random_words=3, seed=2).lines()


# Task descriptions


@pytest.mark.parametrize(
    ("task", "role"),
    [
        ("the colour of the background", "background"), ("what is the texture of the shape?", "texture"),
        ("where in the picture is it located", "position"), ("satellite images of land use", "land"),
        ("x-ray diagnosis", "medical"), ("emotions of faces", "emotion"), ("handwritten digits", "character"),
        ("sketches", "sketch"), ("surface defects of steel", "defect"), ("what the person is doing", "action"),
    ],
)  # fmt: skip
def test_a_task_chooses_templates_of_its_role(task: str, role: str) -> None:
    found = weigh_templates(task)
    entries = {entry.template: entry.roles for entry in candidates(task)}
    best = max(zip(found.weights, found.templates, strict=True))
    assert role in entries[best[1]], best
    assert abs(found.weights.sum() - 1) < 1e-9


def test_a_task_brings_its_own_medium_and_kind() -> None:
    templates = [entry.template for entry in candidates("night camera-trap pictures of owls")]
    assert "a night camera-trap picture of a {label}, a type of owl" in templates
    assert "a photo of a {label}, a type of flower" in [entry.template for entry in candidates("species of flowers")]
    assert "a photo of a pet: a {label}" in [entry.template for entry in candidates("breeds of pets in photographs")]
    assert len(candidates("the color of the objects")) == len(pool("images"))  # objects are no kind


def test_a_task_that_says_nothing_falls_back_on_general_templates() -> None:
    found = weigh_templates("zzz qqq")
    general = [entry.template for entry in pool("images") if not entry.roles]
    used = [template for template, weight in zip(found.templates, found.weights, strict=True) if weight > 0]
    assert used == general and np.allclose(found.weights[found.weights > 0], 1 / len(general))
    assert "general templates" in found.reason
    with pytest.raises(ValueError, match="empty"):
        weigh_templates("  ")


def test_the_task_decides_which_colour_is_meant(tiny: Any) -> None:
    from episodes import load_dataset
    from fewshot import embed

    shapes = load_dataset("scenes:colour", count=300, seed=9)
    grounds = load_dataset("scenes:background", count=300, seed=9)
    rows = normalize(embed(shapes, tiny, cache=False, progress=False).features.float(), dim=-1)
    accuracy = {}
    for source in (shapes, grounds):
        for task in ("the color of the object", "the color of the background"):
            text = Prompts(source.class_names, task=task).encode(tiny, cache=False)
            accuracy[source.name, task] = float(((rows @ text.T).argmax(1) == source.labels).float().mean())
    assert accuracy["scenes:colour", "the color of the object"] > 0.9
    assert accuracy["scenes:background", "the color of the background"] > 0.9
    assert max(accuracy["scenes:colour", "the color of the background"],
               accuracy["scenes:background", "the color of the object"]) < 0.3  # fmt: skip


def test_given_templates_are_weighed_by_similarity_to_the_task() -> None:
    prompts = Prompts(["aa", "bb"], ["zzz {label}", "qqq {label}"], task="zzzz zz")
    weights = [line.weight for line in prompts.lines(Letters(), cache=False)]
    assert weights[0] > weights[1] and abs(weights[0] + weights[1] - 1) < 1e-6


# Unlabelled rows


def test_zpe_prefers_the_template_that_separates() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = normalize(torch.randn(5, 32, generator=generator), dim=-1)
    noise = normalize(torch.randn(5, 32, generator=generator), dim=-1)
    each = normalize(torch.stack([classes, 0.2 * classes + noise], 1), dim=-1)  # the second says little
    rows = classes[torch.arange(100) % 5] + 0.1 * torch.randn(100, 32, generator=generator)
    weights = zero_shot_weights(rows, each, 20.0)
    logits = 20 * torch.einsum("md,ctd->mtc", normalize(rows, dim=-1), each)
    wanted = (logits - logits.mean(0)).amax(2).mean(0).softmax(0)
    torch.testing.assert_close(weights, wanted)
    assert weights[0] > 0.9
    of_class = class_weights(rows, each, 20.0)
    assert of_class.shape == (5, 2) and torch.allclose(of_class.sum(1), torch.ones(5)) and (of_class[:, 0] > 0.5).all()


def test_label_bias_is_taken_out() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    logits = 2.0 * torch.nn.functional.one_hot(labels, 3) + torch.randn(600, 3, generator=generator)
    biased = logits + torch.tensor([1.5, 0.0, -1.5])
    before, after = ((found.argmax(1) == labels).float().mean() for found in (biased, without_label_bias(biased)))
    assert after > before + 0.03
