"""`Episode`: shapes are checked, batches can be cut, and it holds no query labels, nor a support queries."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from episodes import Episode, Support


def make(**changes: object) -> Episode:
    fields = {
        "support": torch.zeros(2, 6, 4),
        "labels": torch.tensor([[0, 1, 2, 0, 1, -1]]).expand(2, 6),
        "query": torch.zeros(2, 9, 4),
        "way": 3,
    }
    return Episode(**{**fields, **changes})  # type: ignore[arg-type]


def test_one_hot_and_shots_leave_padding_out() -> None:
    episode = make()
    assert episode.shots.tolist() == [[2, 2, 1]] * 2
    assert episode.one_hot.sum(1).tolist() == [[2.0, 2.0, 1.0]] * 2
    assert episode.one_hot[0, 5].tolist() == [0.0, 0.0, 0.0]
    assert (
        make(support=torch.zeros(2, 6, 4).double(), query=torch.zeros(2, 9, 4).double()).one_hot.dtype == torch.float64
    )


def test_there_are_no_query_labels() -> None:
    assert not {"targets", "query_labels", "answers"} & set(vars(make()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.zeros(2, 5).long()}, r"support is \[2, 6, 4\] and labels \[2, 5\]"),
        ({"labels": torch.zeros(6).long()}, r"must be \[E, S, \*x\] and \[E, S\]"),
        ({"query": torch.zeros(2, 9, 5)}, r"query is \[2, 9, 5\] and support \[2, 6, 4\]"),
        ({"query": torch.zeros(3, 9, 4)}, r"same E and item shape"),
        ({"way": 0}, "way=0"),
        ({"labels": torch.zeros(2, 6)}, "labels are torch.float32; they must be integers"),
        ({"labels": torch.full((2, 6), 3)}, r"range from 3 to 3; with way=3 they must lie in 0..2"),
        ({"labels": torch.full((2, 6), -2)}, r"range from -2"),
        ({"text": torch.zeros(2, 4, 4)}, r"text is \[2, 4, 4\]; it must be \[E, N, D\] with E=2, N=3"),
        ({"ids": torch.zeros(3).long()}, r"ids is \[3\]"),
        ({"weights": torch.ones(3)}, r"weights is \[3\]"),
    ],
)
def test_bad_shapes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_batches_can_be_cut() -> None:
    episode = make(text=torch.arange(2.0)[:, None, None].expand(2, 3, 4), ids=torch.tensor([7, 8]))
    assert len(episode) == 2
    last = episode[-1]
    assert len(last) == 1
    assert last.ids.tolist() == [8]
    assert last.text.unique().tolist() == [1.0]
    assert [int(one.ids) for one in episode] == [7, 8]
    assert len(episode[:1]) == 1
    with pytest.raises(IndexError):
        episode[2]


def test_replace_and_to_leave_the_original_alone() -> None:
    episode = make()
    other = episode.replace(way=4)
    assert (episode.way, other.way) == (3, 4)
    assert episode.to("cpu").support.device.type == "cpu"
    assert "support=[2, 6, 4]" in repr(episode)


def test_unlabelled_rows_are_cut_and_moved_with_the_rest() -> None:
    episode = make(unlabelled=torch.arange(2.0)[:, None, None].expand(2, 5, 4))
    assert episode[1].unlabelled.unique().tolist() == [1.0]
    assert episode.to("cpu").unlabelled is not None
    assert "unlabelled=[2, 5, 4]" in repr(episode)


def test_zero_shot_and_all_padding_are_episodes() -> None:
    none = make(support=torch.zeros(2, 0, 4), labels=torch.zeros(2, 0, dtype=torch.long))
    padding = make(labels=torch.full((2, 6), -1))
    for episode in (none, padding):
        assert episode.shots.tolist() == [[0, 0, 0]] * 2
        assert not episode.one_hot.any()


def test_an_episode_is_frozen_and_a_changed_copy_is_checked_again() -> None:
    episode = make()
    with pytest.raises(AttributeError):
        episode.way = 4  # type: ignore[misc]
    with pytest.raises(ValueError, match="range from -1 to 2; with way=2"):
        episode.replace(way=2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_are_integers_of_any_width(dtype: torch.dtype) -> None:
    labels = torch.tensor([[0, 1, 2, 0, 1, 2]] * 2, dtype=dtype)
    assert make(labels=labels).shots.tolist() == [[2, 2, 2]] * 2


def test_indicators_of_pixels_are_floating_point() -> None:
    pixels = make(support=torch.zeros(2, 6, 4, dtype=torch.uint8), query=torch.zeros(2, 9, 4, dtype=torch.uint8))
    assert pixels.one_hot.dtype == torch.get_default_dtype()


def test_every_index_and_slice_is_a_batch() -> None:
    episode = make(ids=torch.tensor([3, 4]))
    assert [episode[e].ids.tolist() for e in (0, 1, -1, -2)] == [[3], [4], [4], [3]]
    assert [len(episode[cut]) for cut in (slice(None), slice(0, 0), slice(1, 9), slice(None, None, 2))] == [2, 0, 1, 1]
    for wrong in (2, -3):
        with pytest.raises(IndexError, match="of a batch of 2"):
            episode[wrong]


def test_arguments_of_an_episode_keep_their_order() -> None:
    rows, labels = torch.zeros(1, 2, 3), torch.tensor([[0, 1]])
    text, ids, weights = torch.ones(1, 2, 3), torch.tensor([4]), torch.ones(1, 2)
    episode = Episode(rows, labels, rows[:, :1], 2, text, ids, rows, weights)
    given = (episode.query.shape[1], episode.way, episode.text, episode.ids, episode.unlabelled, episode.weights)
    assert given == (1, 2, text, ids, rows, weights)
    assert Support(rows, labels, 2, text, ids, rows, weights).weights is weights


def test_a_support_is_an_episode_without_queries() -> None:
    episode = make(ids=torch.tensor([7, 8]), weights=torch.ones(2, 6))
    support = episode.without_query()
    assert type(support) is Support and isinstance(episode, Support)
    assert support.support is episode.support and support.ids is episode.ids and support.weights is episode.weights
    assert torch.equal(support.weighted_one_hot, episode.weighted_one_hot)
    again = support.with_query(episode.query)
    assert type(again) is Episode and again.query is episode.query and again.ids is episode.ids
    assert [type(part) for part in (support[0], support.to("cpu"), support.replace(way=4))] == [Support] * 3
    assert [type(part) for part in (episode[0], episode.to("cpu"), episode.replace(way=4))] == [Episode] * 3
    assert repr(support[:1]) == "Support(way=3, support=[1, 6, 4], labels=[1, 6], ids=[1], weights=[1, 6])"
    with pytest.raises(ValueError, match=r"query is \[2, 9, 5\]"):
        support.with_query(torch.zeros(2, 9, 5))
    with pytest.raises(ValueError, match="range from -1 to 2; with way=2"):
        support.replace(way=2)


def test_a_support_tells_why_it_has_no_query() -> None:
    support = make().without_query()
    assert not hasattr(support, "query")
    with pytest.raises(AttributeError, match=r"adapts to the support alone, and queries come to predict"):
        support.query  # noqa: B018
    with pytest.raises(AttributeError, match="'Support' object has no attribute 'targets'"):
        support.targets  # noqa: B018
    with pytest.raises(AttributeError):
        support.query = torch.zeros(1)


def test_supports_and_episodes_can_be_copied_and_sent() -> None:
    episode = make(ids=torch.tensor([7, 8]))
    for whole in (episode, episode.without_query()):
        for other in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
            assert repr(other) == repr(whole) and torch.equal(other.ids, whole.ids)
