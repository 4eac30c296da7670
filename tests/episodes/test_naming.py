"""Names are safe to show, and what is not the same does not look the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from episodes import Result, Results, compare_all
from episodes.naming import dataset_names, learner_names, task_names
from episodes.printable import printable, spreadsheet_cell
from episodes.report import to_text


def cell(
    name: str = "a", spec: str = "a", provenance: Any = None, identity: str = "0" * 32, **evaluation: Any
) -> Result:
    recipe = {
        "learner": {"spec": spec, "identity": identity},
        "evaluation": {
            "dataset": {"name": "toy", "fingerprint": "ab" * 16},
            "way": 5,
            "shot": 1,
            "seed": 0,
            **evaluation,
        },
    }
    return Result(name, recipe, np.full(20, 0.5), 10, provenance=provenance or {})


def test_control_characters_are_spelled_out() -> None:
    assert printable("a\x1b[2J\r\n\tb") == r"a\x1b[2J\r\n\tb"
    assert printable("\u202egnp.exe \ud800 \x9b") == r"\u202egnp.exe \ud800 \x9b"
    assert printable("ß é 猫 👩\u200d🔬 ") == "ß é 猫 👩\u200d🔬 "


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_formulas_are_text(text: str) -> None:
    assert spreadsheet_cell(text).startswith("'")
    assert spreadsheet_cell("a=b") == "a=b"


def test_tasks_are_told_apart_by_what_differs() -> None:
    other = {"name": "toy", "fingerprint": "cd" * 16}
    assert task_names([cell(), cell(shot=5)]) == ["5-way 1-shot", "5-way 5-shot"]
    assert task_names([cell(), cell(seed=3)]) == ["5-way 1-shot [seed 0]", "5-way 1-shot [seed 3]"]
    assert task_names([cell(query=5), cell(query=5, seed=3), cell(query=15)]) == [
        "5-way 1-shot [seed 0, query 5]", "5-way 1-shot [seed 3, query 5]", "5-way 1-shot [seed 0, query 15]",
    ]  # fmt: skip
    assert task_names([cell(), cell(dataset=other)]) == [
        "5-way 1-shot [fingerprint ababab]", "5-way 1-shot [fingerprint cdcdcd]",
    ]  # fmt: skip
    embedded = [cell(provenance={"embedding": {"encoder": name}}, dataset=data) for name, data in
                (("resnet18", other), ("vit", {**other, "fingerprint": "ef" * 16}))]  # fmt: skip
    assert task_names(embedded) == ["5-way 1-shot [encoder resnet18]", "5-way 1-shot [encoder vit]"]
    assert task_names([cell(), cell(dataset={**other, "name": "birds"})]) == ["toy 5-way 1-shot", "birds 5-way 1-shot"]


def embedded(data: str, encoder: str, **evaluation: Any) -> Result:
    name = f"{data} @ {encoder}"
    return cell(provenance={"embedding": {"encoder": encoder}}, dataset={"name": name}, **evaluation)


def test_an_encoder_that_all_share_is_not_repeated() -> None:
    spec = "timm:mobilenetv2_100@/models/timm_mobilenetv2.safetensors(pad_type='same', num_classes=1001, mean=0.5)"
    cells = [embedded(data, spec, shot=shot) for data in ("clothing", "flowers") for shot in (1, 5)]
    assert task_names(cells) == [f"{data} 5-way {shot}-shot" for data in ("clothing", "flowers") for shot in (1, 5)]
    text = to_text(cells)
    assert max(map(len, to_text(cells[::2]).splitlines())) <= 100 and "encoder: mobilenetv2_100" in text
    assert "encoder" not in to_text(cells[:2])


def test_several_encoders_have_short_names() -> None:
    pair = ["timm:resnet18(size=96)", "open_clip:ViT-B-32/openai"]
    assert task_names([embedded("birds", one) for one in pair]) == [
        "birds @ resnet18 5-way 1-shot", "birds @ ViT-B-32/openai 5-way 1-shot",
    ]  # fmt: skip
    alike = ["timm:resnet18(size=96)", "timm:resnet18(size=64)"]
    assert task_names([embedded("birds", one) for one in alike]) == [f"birds @ {one} 5-way 1-shot" for one in alike]


def test_a_table_that_is_too_wide_has_a_part_for_each_dataset() -> None:
    pair = ["timm:resnet18(size=96)", "open_clip:ViT-B-32/openai"]
    cells = [embedded("birds", one, shot=shot) for one in pair for shot in (1, 5)]
    wide = to_text(cells).splitlines()
    assert len(wide[0]) > 100 and wide[0].count("birds @ resnet18") == 2
    assert to_text(cells, 200).splitlines() == wide
    folded = to_text(cells, 80).splitlines()
    assert max(map(len, folded)) <= 80
    assert folded[0] == "birds @ resnet18, accuracy in %" and folded[1].split("  ")[-2:] == ["", "5-way 5-shot"]
    assert folded[6] == "birds @ ViT-B-32/openai, accuracy in %" and folded[5] == ""
    narrow = to_text(cells, 30).splitlines()
    assert sum("5-way 5-shot" in line for line in narrow) == 2 and "shot    5-way" not in "".join(narrow)
    assert str(Results(cells)) == to_text(cells, 120) != "\n".join(wide)
    assert dataset_names(cells[:2]) == ["birds @ resnet18"] * 2


def test_learners_of_one_name_are_told_apart() -> None:
    one, two = cell("mine", "Net(1)"), cell("mine", "Net(2)")
    assert learner_names([one, two]) == ["mine [spec Net(1)]", "mine [spec Net(2)]"]
    assert learner_names([one, cell("mine", "Net(1)", identity="f" * 32)]) == [
        "mine [identity 000000]", "mine [identity ffffff]",
    ]  # fmt: skip
    # On other tasks a learner may have other weights; that is one row.
    assert learner_names([one, cell("mine", "Net(1)", identity="f" * 32, shot=5)]) == ["mine", "mine"]
    text = to_text([one, two])
    assert "mine [spec Net(1)]" in text and "mine [spec Net(2)]" in text
    assert str(compare_all([one, two])[0]).startswith("mine [spec Net(1)] - mine [spec Net(2)]")


def test_no_name_reaches_the_terminal_raw() -> None:
    results = Results([cell("a\x1b[31m", dataset={"name": "toy\x07"}), cell("b\x9b"), cell("b\x9b", shot=5)])
    for shown in (str(results), repr(results), *map(str, compare_all(results))):
        assert not {"\x1b", "\x07", "\x9b"} & set(shown)
