"""What a cell is called in tables."""

from __future__ import annotations

from pathlib import Path

import torch
from sampler_examples import MADE, UNEQUAL

from episodes import EpisodeSampler, ManifestSampler, Results, TensorSource, evaluate, save_episodes
from episodes.samplers.task_label import task_label


class TestTaskLabel:
    """What tables call the task of a sampler, one just made or a result stored long ago."""

    def test_what_varies_is_said(self, tmp_path: Path) -> None:
        variable, fixed = MADE["variable"](), EpisodeSampler(UNEQUAL, 4, 2, 8)
        assert variable.task_label == "3- to 7-way variable-shot"
        assert fixed.task_label == "4-way 2-shot"
        for sampler in (variable, fixed):
            save_episodes(sampler, tmp_path / "episodes.npz", labels=UNEQUAL, episodes=3)
            assert ManifestSampler(tmp_path / "episodes.npz", UNEQUAL).task_label == sampler.task_label
        assert task_label({"sampler": "mine"}) == "variable-way variable-shot"

    def test_tables_print_it(self, tmp_path: Path) -> None:
        source = TensorSource(torch.eye(9)[torch.from_numpy(UNEQUAL)], torch.from_numpy(UNEQUAL))
        sampler = MADE["variable"]()
        save_episodes(sampler, tmp_path / "episodes.npz", labels=UNEQUAL, episodes=9)
        for drawn in (sampler, ManifestSampler(tmp_path / "episodes.npz", UNEQUAL)):
            results = evaluate("prototypes", source, drawn, episodes=9, progress=False)
            assert "3- to 7-way variable-shot" in str(results)

    def test_results_of_earlier_versions(self) -> None:
        old = {"sampler": "variable", "way": 50, "shot": 1, "query": 10, "least_way": 5, "most_support": 500}
        assert task_label(old) == "5- to 50-way variable-shot"
        assert task_label({"sampler": "manifest", "way": 50, "of": old}) == "5- to 50-way variable-shot"

    def test_tables_say_from_how_many_classes(self) -> None:
        source = TensorSource(torch.eye(9)[torch.from_numpy(UNEQUAL)], torch.from_numpy(UNEQUAL))
        results = Results()
        for shot in (1, 20):
            sampler = EpisodeSampler(UNEQUAL, 3, shot, 5)
            results += evaluate("prototypes", source, sampler, episodes=4, progress=False)
        text = str(results)
        assert "3-way 20-shot: episodes are drawn from 5 of 9 classes" in text
        assert "3-way 1-shot: episodes" not in text
