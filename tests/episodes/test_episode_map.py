"""Maps of episodes: the plane is that of the principal components, and rows and answers stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from episodes import EpisodeSampler, OpenSetSampler, TensorSource, VariableSampler, evaluate
from episodes.episode_map import as_arrays, from_arrays, hardest_and_typical, map_episode
from episodes.predictions import load_predictions, predictions_path


def near(episode):  # type: ignore[no-untyped-def]
    means = episode.one_hot.mT @ episode.support / episode.shots.clamp(min=1).unsqueeze(-1)
    return -torch.cdist(episode.query, means)


@pytest.mark.parametrize("kind", [EpisodeSampler, OpenSetSampler, VariableSampler])
def test_the_plane_is_that_of_principal_components(source: TensorSource, kind: type) -> None:
    sampler = kind(source.labels) if kind is VariableSampler else kind(source.labels, way=4, shot=2, query=6)
    drawn = sampler.draw(3, 1).alone()
    found = map_episode(drawn, source)
    assert found.episode == 3 and len(found.rows) <= 400
    np.testing.assert_array_equal(found.classes, source.labels.numpy()[found.rows])
    assert set(found.rows[found.queries < 0]) == set(drawn.support[0].tolist())
    scored = drawn.query[0][drawn.targets[0] >= 0].numpy()
    queries = found.queries >= 0
    np.testing.assert_array_equal(found.rows[queries], scored[found.queries[queries]])
    known = PCA(2, svd_solver="full").fit(source.features[found.rows].double().numpy())
    places = known.transform(source.features[found.rows].double().numpy())
    for own, theirs in zip((found.x, found.y), places.T, strict=True):
        np.testing.assert_allclose(own * np.sign(own @ theirs), theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.shares, known.explained_variance_ratio_, rtol=1e-6)


def test_rows_that_are_alike_lie_in_one_place() -> None:
    source = TensorSource(torch.ones(20, 3), [0] * 10 + [1] * 10)
    found = map_episode(EpisodeSampler(source.labels, 2, 1, 2).draw(0, 1), source)
    assert found.shares == (0.0, 0.0) and not found.x.any() and not found.y.any()


def test_a_large_episode_is_thinned_out(generator: torch.Generator) -> None:
    source = TensorSource(torch.randn(1200, 4, generator=generator), torch.arange(10).repeat_interleave(120))
    found = map_episode(EpisodeSampler(source.labels, 10, 5, 100).draw(0, 1), source)
    assert len(found.rows) == 400 and len(set(found.rows.tolist())) == 400
    np.testing.assert_array_equal(found.classes, source.labels.numpy()[found.rows])


def test_the_hardest_and_a_typical_one_are_kept(source: TensorSource, tmp_path: Path) -> None:
    sampler, out = EpisodeSampler(source.labels, way=4, shot=2, query=6), tmp_path / "runs.jsonl"
    result = evaluate({"near": near}, source, sampler, episodes=30, keep_predictions=True, out=out)["near"]
    kept = load_predictions(predictions_path(out, result.key), result.key)
    assert [one.episode for one in kept.maps] == hardest_and_typical(result.scores)
    assert result.scores[kept.maps[0].episode] == result.scores.min()
    assert kept.first(kept.maps[0].episode).maps == [one for one in kept.maps if one.episode < kept.maps[0].episode]
    read = from_arrays(as_arrays(kept.maps))
    assert [one.episode for one in read] == [one.episode for one in kept.maps]
    np.testing.assert_array_equal(read[1].x, kept.maps[1].x)


def test_damaged_maps_are_refused(source: TensorSource, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    sampler, out = EpisodeSampler(source.labels, way=4, shot=2, query=6), tmp_path / "runs.jsonl"
    result = evaluate({"near": near}, source, sampler, episodes=5, keep_predictions=True, out=out)["near"]
    path = predictions_path(out, result.key)
    with safe_open(path, framework="np") as file:
        arrays, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    arrays["map_x"] = arrays["map_x"] + 1
    save_file(arrays, path, metadata)
    with pytest.raises(ValueError, match="is damaged: its checksum is of other maps"):
        load_predictions(path, result.key)
    cut = {**arrays, "map_rows": arrays["map_rows"][:-1]}
    with pytest.raises(ValueError, match="do not fit one another: rows"):
        from_arrays(cut)
