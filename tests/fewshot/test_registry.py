"""Names and spec strings: what is written can be read, what is wrong is named with what would be right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.identity import digest
from fewshot.learner import Learner
from fewshot.learners import ALIASES, ENTRIES, list_learners, load_learner, split_spec
from fewshot.registry import Registry, argument_names, parse_spec, spec_string, unknown

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).map(lambda word: word + "_")  # never a keyword
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


class Thing:
    def __init__(self, plain: Any = 1, other: Any = "a") -> None:
        self.plain, self.other = plain, other


@given(NAMES, st.dictionaries(WORDS, LITERALS, max_size=4))
def test_a_written_spec_reads_back(name: str, arguments: dict[str, Any]) -> None:
    inner = ", ".join(f"{word}={value!r}" for word, value in arguments.items())
    assert parse_spec(f"{name}({inner})") == (name, arguments)
    assert parse_spec(f"  {name} ( {inner} ) ") == (name, arguments)


@given(LITERALS, LITERALS)
def test_the_spec_of_an_object_makes_an_equal_one(plain: Any, other: Any) -> None:
    name, arguments = parse_spec(spec_string("thing", Thing(plain, other)))
    twin = Thing(**arguments)
    assert (name, twin.plain, twin.other) == ("thing", plain, other)
    assert (type(twin.plain), type(twin.other)) == (type(plain), type(other))


def test_a_spec_names_only_what_differs_from_the_default() -> None:
    assert spec_string("thing", Thing()) == "thing"
    assert spec_string("thing", Thing(other="b")) == "thing(other='b')"
    assert spec_string("thing", Thing(plain=True)) == "thing(plain=True)"  # True == 1, but is not the default


@given(st.lists(st.text(alphabet="ab'\"\\| (=)"), min_size=1, max_size=3))
def test_parts_split_outside_quotes_only(texts: list[str]) -> None:
    parts = [f"name(text={text!r})" for text in texts]
    assert split_spec(" | ".join(parts)) == parts


@pytest.mark.parametrize("text", ["inf", "nan", "-inf", "(inf, -inf)"])
def test_numbers_that_are_not_finite_are_literals_too(text: str) -> None:
    _, arguments = parse_spec(f"thing(plain={text})")
    assert spec_string("thing", Thing(arguments["plain"])) == f"thing(plain={text})"


@pytest.mark.parametrize(
    "spec",
    [
        "ridge(alpha=0.1",
        "ridge(alpha=)",
        "ridge(0.1)",
        "ridge(**{'alpha': 1})",
        "ridge(alpha=0.1) extra",
        "ridge(alpha=0.1)(beta=2)",
        "ridge(alpha=open('x'))",
        "ridge(alpha=alpha)",
        "ridge(x=[1, y])",
    ],
)
def test_a_spec_that_cannot_be_read_is_shown_with_a_good_one(spec: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read the spec .*; write a name with keyword arguments") as caught:
        load_learner(spec)
    assert repr(spec) in str(caught.value)


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read the spec"):
        load_learner("ridge(alpha=1, alpha=2)")


def test_a_spec_runs_no_code(tmp_path: Path) -> None:
    target = tmp_path / "written"
    with pytest.raises(ValueError, match="cannot read the spec"):
        load_learner(f"prototypes(scale=open({str(target)!r}, 'w'))")
    assert not target.exists()


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ValueError) as caught:
        load_learner("prototype")
    message = str(caught.value)
    assert message.startswith("unknown learner 'prototype'; did you mean 'prototypes'")
    assert message.endswith(f"? `fewshot list learners` shows all {len(list_learners())}.")
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        load_learner("RIDGE")
    with pytest.raises(ValueError, match=r"'l2' is a transform; it stands in front of a learner: 'l2 \| ridge'"):
        load_learner("ridge | l2")
    with pytest.raises(ValueError, match="several are separated by blanks: prototypes ridge"):
        load_learner("prototypes,ridge")
    with pytest.raises(ValueError, match="is a path; give a learner"):
        load_learner(Path("ridge"))  # type: ignore[arg-type]


def test_names_unlike_any_known_come_without_a_guess() -> None:
    assert unknown("learner", "zzz", ["ridge"]) == "unknown learner 'zzz'; Known: ridge."
    many = unknown("learner", "zzz", [f"n{i}" for i in range(50)])
    assert many.endswith("n39, ...."), "a long list is cut"


@pytest.mark.parametrize("spec", ["", " ", "(scale=1)", "| prototypes", "prototypes |"])
def test_an_empty_name_is_unknown(spec: str) -> None:
    with pytest.raises(ValueError, match=r"unknown (learner|transform) ''"):
        load_learner(spec)


def test_unknown_arguments_come_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError) as caught:
        load_learner("prototypes(distanze='cosine')")
    assert str(caught.value) == (
        "'prototypes' has no argument 'distanze'; did you mean 'distance'? It takes: distance, scale."
    )


def test_argument_names() -> None:
    assert argument_names(Thing) == ["plain", "other"]
    assert argument_names(type("Bare", (), {})) == []


def test_a_learner_is_its_own_spec() -> None:
    learner = load_learner("prototypes")
    assert load_learner(learner) is learner


@pytest.mark.parametrize("name", list_learners())
def test_every_registered_name_is_the_name_of_its_class(name: str) -> None:
    learner = load_learner(name)
    assert isinstance(learner, Learner)
    assert repr(learner).startswith(name)


def test_learner_classes_are_attributes_of_the_package() -> None:
    import fewshot.learners

    for entry in ENTRIES.values():
        attribute = entry.partition(":")[2]
        assert getattr(fewshot.learners, attribute).__name__ == attribute
        assert attribute in dir(fewshot.learners)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        fewshot.learners.Nothing  # noqa: B018


def test_things_are_imported_when_first_asked_for() -> None:
    registry = Registry("thing", {"lazy": "no_such_module:Thing"}, "fewshot.nothing")
    assert registry.names() == ["lazy"]
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry.get("lazy")


def test_installed_packages_add_learners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_of_a_test.py").write_text(
        "from fewshot.learners import Prototypes\n\n\nclass Mine(Prototypes):\n    name = 'mine'\n"
    )
    metadata = tmp_path / "plugin_of_a_test-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-a-test\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[fewshot.learners]\nmine = plugin_of_a_test:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert "mine" in list_learners()
        assert repr(load_learner("l2 | mine(scale=2.0)")) == "l2 | mine(scale=2.0)"
        from fewshot.testing import check_learner

        assert "spec_string_round_trip" in check_learner("mine")
    finally:
        sys.modules.pop("plugin_of_a_test", None)


@pytest.mark.parametrize(("alias", "name"), sorted(ALIASES.items()))
def test_an_alias_is_the_learner_itself(alias: str, name: str) -> None:
    assert alias not in list_learners() and name in list_learners()
    by_alias, by_name = load_learner(alias), load_learner(name)
    assert repr(by_alias) == repr(by_name) == name
    if not list(by_name.parameters()):  # weights are drawn anew
        assert digest(by_alias) == digest(by_name)


def test_aliases_take_arguments_stand_behind_transforms_and_are_suggested() -> None:
    assert repr(load_learner("l2 | knn(k=3)")) == "l2 | nearest(k=3)"
    with pytest.raises(ValueError, match=r"'nearest' has no argument 'n'"):
        load_learner("knn(n=3)")
    with pytest.raises(ValueError, match=r"unknown learner 'protonett'; did you mean 'protonet'"):
        load_learner("protonett")


@pytest.mark.parametrize(
    ("old", "new"),
    [("maml(net='linear', item_shape=(4,), rate=0.3, test_rate=0.2)",
      "maml(net='linear', item_shape=(4,), lr=0.3, test_lr=0.2)"),
     ("anil(net='linear', item_shape=(4,), rate=0.3)", "anil(net='linear', item_shape=(4,), lr=0.3)"),
     ("fine-tune(rate=0.1, optimiser='adam', decay=0.5)", "fine-tune(lr=0.1, optimizer='adam', weight_decay=0.5)"),
     *((f"{name}(rate=0.25)", f"{name}(lr=0.25)") for name in (
         "baseline++", "tim", "alpha-tim", "transductive-finetune", "pt-map", "clap", "clip-adapter", "cross-modal",
         "taskres", "tip-adapter-f", "zs-lp")),
     ("l2 | baseline++(decay=0.5)", "l2 | baseline++(weight_decay=0.5)")],
)  # fmt: skip
def test_recorded_specs_with_old_names_of_arguments_are_the_same_learner(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match="is now called"):
        learner = load_learner(old)
    assert repr(learner) == repr(load_learner(new)) == new
    learner.load_state_dict(load_learner(new).state_dict())
    if not list(learner.parameters()):
        assert digest(learner) == digest(load_learner(new))


def test_an_argument_under_both_names_is_refused() -> None:
    with pytest.raises(ValueError, match="was given lr= and rate="):
        load_learner("maml(net='linear', item_shape=(4,), rate=0.3, lr=0.3)")
