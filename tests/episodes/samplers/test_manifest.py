"""Episodes written to a file, and drawn again from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_examples import FIELDS, LABELS, labels_of

from episodes import EpisodeSampler, ManifestSampler, SemiSupervisedSampler, save_episodes


class TestManifest:
    def test_it_replays_the_very_indices(self, sampler: Any, tmp_path: Path) -> None:
        labels = labels_of(sampler)
        save_episodes(sampler, tmp_path / "episodes.npz", labels=labels, first=5, episodes=7)
        replayed = ManifestSampler(tmp_path / "episodes.npz", labels)
        assert (replayed.available, replayed.way) == (7, sampler.way)
        for field in FIELDS:
            assert torch.equal(getattr(replayed.draw(2, 3), field), getattr(sampler.draw(7, 3), field)), field
        with pytest.raises(ValueError, match="holds 7 episodes"):
            replayed.draw(5, 3)

    def test_another_dataset_is_refused(self, tmp_path: Path) -> None:
        save_episodes(EpisodeSampler(LABELS), tmp_path / "episodes.npz", labels=LABELS, episodes=2)
        with pytest.raises(ValueError, match="other labels than the 480"):
            ManifestSampler(tmp_path / "episodes.npz", LABELS[::-1].copy())
        (tmp_path / "no.npz").write_bytes(b"PK nothing")
        with pytest.raises(ValueError, match="is no manifest of episodes"):
            ManifestSampler(tmp_path / "no.npz", LABELS)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"support": None}, "is no manifest of episodes .*lacks support"),
            ({"header": b"[1]"}, "must hold an object with the field 'format'"),
            ({"header": {"rows": None}}, "the field 'rows' is null; it must be an integer"),
            ({"header": {"recipe": [1]}}, "the field 'recipe' is a list; it must be an object"),
            ({"header": {"labels": 3}}, "the field 'labels' is an integer .3.; it must be a string"),
            ({"query": np.zeros((2, 3), int)}, r"damaged: query is \[2, 3\]"),
            ({"query": np.full((4, 8), 480)}, "damaged: it has row 480 of a dataset of 480 rows"),
            ({"targets": np.full((4, 8), 2)}, "damaged: query has classes beyond the 2"),
            ({"ids": np.arange(3)}, "damaged"),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        path = tmp_path / "episodes.npz"
        save_episodes(EpisodeSampler(LABELS, 2, 1, 4), path, labels=LABELS, episodes=4)
        with np.load(path) as file:
            held: dict[str, Any] = dict(file)
        [(field, value)] = change.items()
        if isinstance(value, dict):
            value = json.dumps({**json.loads(held["header"].tobytes()), **value}).encode()
        held[field] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        np.savez(path, **{name: array for name, array in held.items() if array is not None})
        with pytest.raises(ValueError, match=message):
            ManifestSampler(path, LABELS)


def test_a_manifest_keeps_unlabelled_rows(tmp_path: Path) -> None:
    sampler = SemiSupervisedSampler(LABELS, 3, 1, 4, unlabelled=3, distractors=1)
    save_episodes(sampler, tmp_path / "episodes.npz", labels=LABELS, episodes=20)
    replayed = ManifestSampler(tmp_path / "episodes.npz", LABELS).draw(5, 10)
    assert torch.equal(replayed.rows, sampler.draw(5, 10).rows) and replayed.unlabelled is not None
