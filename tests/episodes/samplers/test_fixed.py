"""`EpisodeSampler`: an episode is a function of (seed, number), and a fair one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from episodes import Episode, EpisodeSampler
from episodes.counter import distinct, uniforms

LABELS = np.repeat(np.arange(12), 40)


@st.composite
def tasks(draw):  # type: ignore[no-untyped-def]
    way, shot, query = draw(st.integers(1, 6)), draw(st.integers(0, 6)), draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, 9), min_size=way, max_size=way + 4))
    sizes = [shot + query + e for e in extra] + draw(st.lists(st.integers(0, shot + query - 1), max_size=3))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(sum(sizes))
    labels = np.repeat(np.arange(len(sizes)), sizes)[order]
    return labels, way, shot, query, draw(st.integers(0, 2**64 - 1))


@settings(max_examples=60, deadline=None)
@given(tasks(), st.integers(0, 10**9))
def test_every_episode_is_sound(task, first) -> None:  # type: ignore[no-untyped-def]
    labels, way, shot, query, seed = task
    sampler = EpisodeSampler(labels, way, shot, query, seed)
    drawn = sampler.draw(first, 20)
    assert drawn.support.shape == (20, way * shot)
    assert drawn.query.shape == (20, way * query)
    rows = drawn.rows.sort(1).values
    assert (rows[:, 1:] > rows[:, :-1]).all(), "a row appears twice in an episode"
    classes = drawn.classes.sort(1).values
    assert (classes[:, 1:] > classes[:, :-1]).all(), "a class appears twice in an episode"
    truth = torch.from_numpy(labels)
    assert torch.equal(truth[drawn.support], drawn.classes.gather(1, drawn.labels))
    assert torch.equal(truth[drawn.query], drawn.classes.gather(1, drawn.targets))
    assert drawn.ids.tolist() == list(range(first, first + 20))


@settings(max_examples=30, deadline=None)
@given(tasks(), st.integers(0, 5000), st.integers(1, 40), st.integers(0, 39))
def test_an_episode_does_not_depend_on_its_batch(task, first, count, offset) -> None:  # type: ignore[no-untyped-def]
    labels, way, shot, query, seed = task
    sampler = EpisodeSampler(labels, way, shot, query, seed)
    batch, offset = sampler.draw(first, count), min(offset, count - 1)
    alone = EpisodeSampler(labels, way, shot, query, seed).draw(first + offset, 1)
    for field in ("support", "query", "classes", "labels", "targets", "ids"):
        assert torch.equal(getattr(batch, field)[offset], getattr(alone, field)[0]), field


def test_blocks_join_without_a_seam() -> None:
    sampler = EpisodeSampler(LABELS, 5, 2, 3, seed=9)
    whole = sampler.draw(0, 2500)
    parts = [sampler.draw(first, 500) for first in range(0, 2500, 500)]
    assert torch.equal(whole.rows, torch.cat([part.rows for part in parts]))


def test_episodes_of_all_shots_share_classes_queries_and_nested_support() -> None:
    ragged = np.concatenate([LABELS, np.full(25, 3), np.full(60, 7)])
    five = EpisodeSampler(ragged, 5, 5, 15, seed=1).draw(0, 200)
    for shot in (0, 1, 3):
        fewer = EpisodeSampler(ragged, 5, shot, 15, seed=1).draw(0, 200)
        assert torch.equal(fewer.classes, five.classes)
        assert torch.equal(fewer.query, five.query)
        assert torch.equal(fewer.support.view(200, 5, shot), five.support.view(200, 5, 5)[..., :shot])


def test_golden_episodes() -> None:
    """Pinned: these indices may never change, or published results could not be repeated."""
    drawn = EpisodeSampler(np.repeat(np.arange(10), 20), way=3, shot=2, query=2, seed=42).draw(1_234, 2)
    assert drawn.classes.tolist() == GOLDEN["classes"]
    assert drawn.support.tolist() == GOLDEN["support"]
    assert drawn.query.tolist() == GOLDEN["query"]


def test_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from episodes import EpisodeSampler;"
        "d = EpisodeSampler(np.repeat(np.arange(10), 20), way=3, shot=2, query=2, seed=42).draw(1_234, 2);"
        "print(d.support.tolist(), d.query.tolist())"
    )
    for seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        assert done.stdout.strip() == f"{GOLDEN['support']} {GOLDEN['query']}"


def test_classes_and_rows_are_uniform() -> None:
    from scipy.stats import chisquare

    drawn = EpisodeSampler(LABELS, 5, 1, 3, seed=5).draw(0, 20_000)
    for values, size in (
        (drawn.classes, 12),
        (drawn.support, 480),
        (drawn.query, 480),
        (drawn.classes[:, 0], 12),
    ):
        counts = torch.bincount(values.flatten(), minlength=size).numpy()
        assert chisquare(counts).pvalue > 1e-3


def test_seeds_give_different_episodes() -> None:
    a, b = (EpisodeSampler(LABELS, 5, 1, 5, seed=seed).draw(0, 100).rows for seed in (0, 1))
    assert (a == b).float().mean() < 0.05


def test_distinct_is_uniform_over_permutations() -> None:
    picks = distinct(uniforms(0, 0, 0, 24_000, 3).T, 4)  # ordered 3 of 4: 24 outcomes
    codes = picks[0] * 16 + picks[1] * 4 + picks[2]
    counts = np.unique(codes, return_counts=True)[1]
    from scipy.stats import chisquare

    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-3


def test_only_the_classes_given_are_used() -> None:
    drawn = EpisodeSampler(LABELS, 3, 1, 5, classes=[2, 5, 7, 11]).draw(0, 500)
    assert set(drawn.classes.unique().tolist()) == {2, 5, 7, 11}


def test_restricted_classes_still_need_enough_rows() -> None:
    labels = np.repeat([0, 1, 2, 3], [30, 4, 30, 30])
    drawn = EpisodeSampler(labels, 2, 1, 5, classes=[0, 1, 2]).draw(0, 200)
    assert set(drawn.classes.unique().tolist()) == {0, 2}
    with pytest.raises(ValueError, match=r"way=3, but 'the dataset' has 2 classes .*class 1 has 4"):
        EpisodeSampler(labels, 3, 1, 5, classes=[0, 1, 2])


def test_rows_are_uniform_within_classes_of_unequal_size() -> None:
    from scipy.stats import chisquare

    sizes = [7, 40, 11, 90]
    drawn = EpisodeSampler(np.repeat(np.arange(4), sizes), 2, 2, 3, seed=3).draw(0, 30_000)
    for rows in (drawn.support, drawn.query, drawn.support[:, 1::2]):  # all; and the second shots alone
        counts = np.split(torch.bincount(rows.flatten(), minlength=148).numpy(), np.cumsum(sizes)[:-1])
        assert min(chisquare(part).pvalue for part in counts) > 1e-3


def test_pairs_of_classes_are_uniform() -> None:
    from scipy.stats import chisquare

    classes = EpisodeSampler(LABELS, 2, 1, 1, seed=4).draw(0, 40_000).classes
    counts = torch.bincount(classes[:, 0] * 12 + classes[:, 1], minlength=144).view(12, 12)
    assert counts.diagonal().eq(0).all()
    assert chisquare(counts[~torch.eye(12, dtype=torch.bool)].numpy()).pvalue > 1e-3


def test_consecutive_episodes_are_not_related() -> None:
    from scipy.stats import chisquare

    first = EpisodeSampler(LABELS, 1, 1, 1, seed=6).draw(0, 40_000).classes[:, 0]
    pairs = torch.bincount(first[:-1] * 12 + first[1:], minlength=144).numpy()
    assert chisquare(pairs).pvalue > 1e-3


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.uint8, np.int32])
def test_labels_of_any_integer_kind_draw_the_same(kind) -> None:  # type: ignore[no-untyped-def]
    expected = EpisodeSampler(LABELS, 3, 1, 2).draw(0, 10)
    assert torch.equal(EpisodeSampler(kind(LABELS.tolist()), 3, 1, 2).draw(0, 10).rows, expected.rows)


def test_drawing_changes_neither_labels_nor_global_random_numbers() -> None:
    labels = LABELS.copy()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    EpisodeSampler(labels, 5, 5, 5, seed=3).draw(0, 2000)
    assert np.array_equal(labels, LABELS)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_episodes_that_were_drawn_do_not_change_when_others_are() -> None:
    sampler = EpisodeSampler(LABELS, 5, 1, 5)
    first = sampler.draw(0, 50)
    kept = first.rows.clone()
    sampler.draw(50, 50)
    assert torch.equal(first.rows, kept)


def test_the_recipe_is_json_and_differs_where_episodes_do() -> None:
    import json

    def recipe(**changes: object) -> str:
        arguments = {"way": 3, "shot": 1, "query": 2, "seed": 0, **changes}
        return json.dumps(EpisodeSampler(LABELS, **arguments).recipe())  # type: ignore[arg-type]

    changes: list[dict[str, object]] = [{}, {"way": 4}, {"shot": 2}, {"query": 3}, {"seed": 1}, {"classes": [1, 2, 3]}]
    assert len({recipe(**change) for change in changes}) == len(changes)
    assert recipe() == recipe(classes=list(range(12))) == recipe(name="another name", episodes=7)


# Errors


def test_too_few_classes_says_which_lack_rows() -> None:
    labels = np.repeat([0, 1, 2], [30, 10, 5])
    with pytest.raises(ValueError) as caught:
        EpisodeSampler(labels, way=3, shot=5, query=15, name="birds")
    assert str(caught.value) == (
        "way=3, but 'birds' has 1 classes with at least shot + query = 20 rows "
        "(class 1 has 10, class 2 has 5); lower way, shot or query."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"way": 0}, "way=0; it must be an integer of at least 1"),
        ({"way": 2.5}, "way=2.5"),
        ({"shot": -1}, "shot=-1"),
        ({"query": 0}, "query=0"),
        ({"seed": -1}, "seed=-1; it must be an integer from 0 to"),
        ({"seed": 2**64}, "seed="),
        ({"classes": [0, 12]}, r"classes contain 12, but 'the dataset' has classes 0\.\.11"),
        (
            {"way": 20},
            "way=20, but 'the dataset' has 12 classes with at least shot \\+ query = 16 rows; lower",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EpisodeSampler(LABELS, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [np.zeros((3, 2), int), np.array([0.5, 1.0]), ["cat", "dog"]])
def test_labels_must_be_integers(labels: object) -> None:
    with pytest.raises(ValueError, match="they must be integers"):
        EpisodeSampler(labels, way=1)  # type: ignore[arg-type]


def test_negative_labels_and_draws() -> None:
    with pytest.raises(ValueError, match="labels contain -1"):
        EpisodeSampler([-1, 0, 0], way=1)
    with pytest.raises(ValueError, match="first=-1"):
        EpisodeSampler(LABELS).draw(-1, 1)
    assert len(EpisodeSampler(LABELS).draw(5, 0)) == 0


def test_large_class_numbers_need_no_table() -> None:
    """A table of counts up to the largest number would take 4 GB here."""
    import tracemalloc

    small, large = LABELS * 2, LABELS.astype(np.int64) * 45_000_000  # up to 495,000,000
    expected = EpisodeSampler(small, 3, 1, 2).draw(0, 50)
    tracemalloc.start()
    try:
        drawn = EpisodeSampler(large, 3, 1, 2).draw(0, 50)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert torch.equal(drawn.rows, expected.rows)
    assert torch.equal(drawn.classes, expected.classes // 2 * 45_000_000)


def test_recipes_of_other_labels_differ() -> None:
    other = np.roll(LABELS, 1)
    assert EpisodeSampler(LABELS).recipe() != EpisodeSampler(other).recipe()
    assert EpisodeSampler(LABELS).recipe() == EpisodeSampler(torch.from_numpy(LABELS).int()).recipe()


@pytest.mark.parametrize("labels", [np.array([0, 2**63], np.uint64), [0, 2**70], [0.0, np.inf]])
def test_labels_beyond_64_bits_are_refused(labels: object) -> None:
    with pytest.raises(ValueError, match=r"they must be integers .*from 0 to 2\*\*63 - 1"):
        EpisodeSampler(labels, way=1, query=1)  # type: ignore[arg-type]


# Beside a DataLoader


@pytest.mark.parametrize("workers", [0, 2])
def test_as_batch_sampler(workers: int) -> None:
    rows = torch.arange(480.0)[:, None]
    dataset = TensorDataset(rows, torch.from_numpy(LABELS))
    sampler = EpisodeSampler(LABELS, way=4, shot=2, query=3, seed=8, episodes=6)
    assert len(sampler) == 6
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.collate, num_workers=workers)  # type: ignore[arg-type]
    batches = list(loader)
    assert len(batches) == 6
    drawn = sampler.draw(0, 6)
    for number, (episode, targets) in enumerate(batches):
        assert isinstance(episode, Episode)
        assert torch.equal(episode.support[0, :, 0].long(), drawn.support[number])
        assert torch.equal(episode.query[0, :, 0].long(), drawn.query[number])
        assert torch.equal(targets[0], drawn.targets[number])


def test_collate_takes_items_without_labels() -> None:
    sampler = EpisodeSampler(LABELS, way=2, shot=1, query=2, episodes=1)
    episode, targets = sampler.collate([np.full(3, float(row)) for row in next(iter(sampler))])
    drawn = sampler.draw(0, 1)
    assert torch.equal(episode.support[..., 0].long(), drawn.support)
    assert torch.equal(episode.labels, drawn.labels)
    assert torch.equal(targets, drawn.targets)


def test_a_finite_sampler_repeats_the_same_episodes() -> None:
    sampler = EpisodeSampler(LABELS, 2, 1, 1, episodes=300)
    assert list(sampler) == list(sampler) == sampler.draw(0, 300).rows.tolist()


def test_an_endless_sampler_has_no_length_and_never_repeats() -> None:
    from itertools import islice

    sampler = EpisodeSampler(LABELS, 2, 1, 1)
    with pytest.raises(TypeError, match="endless"):
        len(sampler)
    assert len({tuple(rows) for rows in islice(sampler, 600)}) > 590


GOLDEN: dict[str, list[list[int]]] = {
    "classes": [[1, 9, 6], [8, 4, 9]],
    "support": [[36, 34, 189, 191, 125, 124], [169, 163, 92, 94, 196, 188]],
    "query": [[38, 37, 196, 186, 120, 133], [171, 179, 82, 98, 195, 181]],
}
