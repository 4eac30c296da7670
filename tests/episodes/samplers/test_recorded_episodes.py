"""The very indices of every sampler, recorded: they may never change, or published results could not be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from episodes import (
    CrossDomainSampler,
    DirichletSampler,
    DisjointSampler,
    EpisodeSampler,
    ExhaustiveSampler,
    HierarchicalSampler,
    OpenSetSampler,
    SemiSupervisedSampler,
    VariableSampler,
)

EQUAL = np.repeat(np.arange(12), 40)
UNEQUAL = np.repeat(np.arange(9), [12, 20, 33, 90, 14, 25, 61, 40, 17])
MIXED = np.random.default_rng(7).permutation(np.concatenate([UNEQUAL, UNEQUAL + 20]))  # gaps, and in no order
GROUPS = [[0, 1, 2, 3], [3, 4, 5, 6, 7], [2, 8]]
FIELDS = ("support", "labels", "query", "targets", "classes", "ids", "unlabelled")

MADE: dict[str, tuple[Callable[[], Any], int]] = {  # sampler, and a first episode far from 0
    "fixed": (lambda: EpisodeSampler(EQUAL, 5, 3, 4, seed=1), 5000),
    "fixed, unequal": (lambda: EpisodeSampler(MIXED, 4, 2, 7, seed=2), 10**9),
    "fixed, classes": (lambda: EpisodeSampler(MIXED, 3, 0, 7, seed=2**64 - 1, classes=[1, 2, 3, 22, 26]), 77),
    "disjoint": (lambda: DisjointSampler(UNEQUAL, 3, 1, 3, seed=3), 5),
    "disjoint, gaps": (lambda: DisjointSampler(MIXED, 3, 1, 3, seed=3), 20),
    "dirichlet": (lambda: DirichletSampler(UNEQUAL, 4, 2, 8, seed=3), 5000),
    "dirichlet, equal": (lambda: DirichletSampler(EQUAL, 5, 1, 6, seed=4, alpha=0.5), 1000),
    "variable": (lambda: VariableSampler(UNEQUAL, query=6, seed=3, least_way=3, most_way=7, most_support=40), 100),
    "variable, gaps": (lambda: VariableSampler(MIXED, query=4, seed=5, most_way=12, most_support=90), 300),
    "hierarchical": (lambda: HierarchicalSampler(UNEQUAL, GROUPS, 3, 2, 5, seed=3), 3000),
    "open-set": (lambda: OpenSetSampler(UNEQUAL, 4, 2, 6, seed=3, open_way=3), 3000),
    "open-set, equal": (lambda: OpenSetSampler(EQUAL, 3, 1, 6, seed=9), 9),
    "semi-supervised": (lambda: SemiSupervisedSampler(UNEQUAL, 3, 2, 5, seed=3, unlabelled=4), 3000),
    "semi-supervised, distractors": (
        lambda: SemiSupervisedSampler(UNEQUAL, 3, 2, 5, seed=3, unlabelled=4, distractors=2),
        3000,
    ),
    "exhaustive": (lambda: ExhaustiveSampler(np.repeat(np.arange(4), [3, 4, 3, 5]), 2, 2), 60),
    "exhaustive, gaps": (lambda: ExhaustiveSampler(MIXED, 3, 2), 10**6),
    "cross-domain": (lambda: CrossDomainSampler(UNEQUAL, np.arange(len(UNEQUAL)) % 2, 3, 2, 4, seed=3), 3000),
    "cross-domain, gaps": (
        lambda: CrossDomainSampler(MIXED, np.arange(len(MIXED)) % 3, 4, 1, 3, support_domain=2, query_domain=0),
        8,
    ),
}


def digest(drawn: Any) -> str:
    """Over all fields, with their shapes."""
    found = hashlib.sha256()
    for field in FIELDS:
        tensor = getattr(drawn, field)
        if tensor is not None:
            found.update(f"{field}{list(tensor.shape)}".encode())
            found.update(np.ascontiguousarray(tensor.numpy(), "<i8").tobytes())
    return found.hexdigest()[:16]


RECORDED: dict[str, tuple[str, str]] = {
    "fixed": ("06b2ea8543ce37c6", "cdcc30eb1f08ef45"),
    "fixed, unequal": ("f7521557cf8f7f0a", "d975d2031f8dacca"),
    "fixed, classes": ("3b6c6dc2b82cb7bd", "18a3db169ef4e2c6"),
    "disjoint": ("a3ba33e458a928bc", "9aeb1d26bbadc7cf"),
    "disjoint, gaps": ("9f1c08aaf19bc135", "1c37825e49f3353b"),
    "dirichlet": ("4bb1d08262f5956a", "eb539669e80333c3"),
    "dirichlet, equal": ("e257e8974fb2bde1", "543e3fbf5853465b"),
    "variable": ("8e8493866db13299", "3f6e0a6206993d36"),
    "variable, gaps": ("91b017ced085bb2e", "054f0e68b6588666"),
    "hierarchical": ("48e4e9b88073272b", "a51a1c62849a81ab"),
    "open-set": ("0fd7614a82585c60", "733d77976bc8b0cc"),
    "open-set, equal": ("eee21da3e92f30db", "cec22b84ea8036da"),
    "semi-supervised": ("08093f399c527a50", "db32e258f70dcc60"),
    "semi-supervised, distractors": ("5d80d0c2c3eb9e78", "03b425d28b0e212c"),
    "exhaustive": ("ebe5eebeefb606d8", "5bc20f18e0168766"),
    "exhaustive, gaps": ("543a38ef1d453dd2", "4e3c91df8527b658"),
    "cross-domain": ("911e6199b2f011df", "645230324596a35f"),
    "cross-domain, gaps": ("4cc8b97aa812f84d", "33009545aa47428b"),
}


@pytest.mark.parametrize("name", MADE)
def test_episodes_are_the_recorded_ones(name: str) -> None:
    make, far = MADE[name]
    sampler = make()
    count = min(50, getattr(sampler, "available", None) or 50)
    assert (digest(sampler.draw(0, count)), digest(sampler.draw(far, 3))) == RECORDED[name]
