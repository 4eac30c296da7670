"""What `help(load_encoder)` lists is what there is, and each spec in it can be read."""

from __future__ import annotations

import inspect
import re

import pytest

from fewshot import load_encoder
from fewshot.encoders import ENTRIES
from fewshot.registry import parse_spec

LISTED = dict(re.findall(r"^ {4}(\w+) {2,}(\S.*?) {2,}\S", inspect.getdoc(load_encoder) or "", re.M))


def test_all_families_are_listed() -> None:
    assert sorted(LISTED) == sorted(ENTRIES)


@pytest.mark.parametrize("family", sorted(LISTED))
def test_the_spec_is_one_of_that_family(family: str) -> None:
    name, _ = parse_spec(LISTED[family])
    assert name.partition(":")[0] == family


@pytest.mark.parametrize("family", ["fewshot", "net", "pixels"])
def test_specs_that_need_no_file_load(family: str) -> None:
    assert load_encoder(LISTED[family]).dim > 0
