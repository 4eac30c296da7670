"""Classes of one group."""

from __future__ import annotations

import pytest
from sampler_examples import LABELS

from episodes import HierarchicalSampler
from episodes.samplers.hierarchical import groups_of_names, groups_of_tree


class TestHierarchical:
    def test_classes_of_an_episode_are_of_one_group(self) -> None:
        sampler = HierarchicalSampler(LABELS, [[0, 1, 2, 3], [4, 5, 6, 7, 8], [9, 10]], 3, 1, 5)
        drawn = sampler.draw(0, 600)
        groups = [tuple({n // 4 if n < 4 else 1 for n in row}) for row in drawn.classes.tolist()]
        assert all(len(group) == 1 for group in groups)
        assert 240 < sum(group == (0,) for group in groups) < 360, "groups are drawn alike, whatever their size"

    def test_names_and_trees(self) -> None:
        assert groups_of_names(["a/x", "b/x", "a/y"]) == [[0, 2], [1]]
        with pytest.raises(ValueError, match="has no '/' in its name"):
            groups_of_names(["a/x", "b"])
        tree = {"pet": ["cat", "dog"], "animal": ["pet", "owl"], "thing": ["animal", "tin"]}
        assert groups_of_tree(tree, ["cat", "dog", "owl"]) == [[0, 1], [0, 1, 2], [0, 1, 2]]
        with pytest.raises(ValueError, match="cycle: a -> b -> a"):
            groups_of_tree({"a": ["b"], "b": ["a"]}, ["c"])

    def test_too_small_groups_are_named(self) -> None:
        with pytest.raises(ValueError, match="the largest of the 2 groups of 'x' has 3 classes"):
            HierarchicalSampler(LABELS, [[0, 1, 2], [3]], 5, 1, 5, name="x")
