"""`HierarchicalSampler`: episodes of classes that belong together, such as the letters of one alphabet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.counter import Stream, distinct, uniforms
from episodes.identity import digest_array
from episodes.samplers.fixed import EpisodeSampler


class HierarchicalSampler(EpisodeSampler):
    """`EpisodeSampler`, but all classes of an episode come from one group, drawn uniformly from the groups.

    Classes of one group are alike, so these episodes are harder, and closer to tasks in practice.
    Groups may overlap: the classes below each inner node of a tree, as `groups_of_tree` lists them.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0.
        groups: for each group the classes in it; `groups_of_names` makes them of names like "Greek/alpha".
        way: classes per episode N; groups with fewer classes that have enough rows are left out.
        shot: support rows per class K.
        query: query rows per class.
        seed: 0 to 2**64 - 1.
        **more: `classes`, `episodes` and `name`, as for `EpisodeSampler`.

    Raises:
        ValueError: no group has enough classes, or an argument is out of range.

    Reference: Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program
    induction", Science 2015 (within alphabets); Triantafillou et al., "Meta-Dataset", ICLR 2020 (trees).

    >>> sampler = HierarchicalSampler([0, 0, 1, 1, 2, 2, 3, 3], [[0, 1], [2, 3]], way=2, shot=1, query=1)
    >>> {tuple(sorted(row)) for row in sampler.draw(0, 50).classes.tolist()}
    {(2, 3), (0, 1)}
    """

    kind = "hierarchical"

    def __init__(
        self,
        labels: Any,
        groups: Sequence[Sequence[int]],
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        **more: Any,
    ) -> None:
        super().__init__(labels, way, shot, query, seed, **more)
        place = {int(number): position for position, number in enumerate(self.classes)}
        members = [sorted({place[int(number)] for number in group if int(number) in place}) for group in groups]
        members = [group for group in members if len(group) >= self.way]
        if not members:
            most = max((sum(int(number) in place for number in set(group)) for group in groups), default=0)
            raise ValueError(
                f"way={self.way}, but the largest of the {len(groups)} groups of {self.name!r} has {most} classes with "
                f"at least shot + query = {self.shot + self.query} rows; lower way, shot or query."
            )
        self._group_sizes = np.array([len(group) for group in members], np.int32)
        self._group_starts = np.concatenate([[0], np.cumsum(self._group_sizes)[:-1]])
        self._members: NDArray[np.int32] = np.concatenate([np.array(group, np.int32) for group in members])

    @classmethod
    def of(
        cls, source: Any, way: int, shot: int, query: int, seed: int, *, separator: str = "/", **arguments: Any
    ) -> HierarchicalSampler:
        """A sampler over a source whose class names give the groups, up to their last separator."""
        groups = groups_of_names(source.class_names, separator)
        return cls(source.labels, groups, way, shot, query, seed, name=source.name, **arguments)

    def _choose(self, first: int, count: int) -> NDArray[np.int32]:
        number = uniforms(self.seed, Stream.GROUP, first, count, 1)[:, 0]
        group = (number * len(self._group_sizes)).astype(np.int64)  # [E]
        chosen = distinct(uniforms(self.seed, Stream.CLASSES, first, count, self.way).T, self._group_sizes[group])
        return self._members[chosen.T + self._group_starts[group][:, None]]

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        groups = np.concatenate([self._group_sizes, self.classes[self._members]]).astype(np.int64)
        return {**super().recipe(), "groups": digest_array(groups)}


def groups_of_names(class_names: Sequence[str], separator: str = "/") -> list[list[int]]:
    """Classes whose names begin alike, up to the last separator: ``"Greek/alpha", "Greek/beta"``.

    Raises:
        ValueError: a name has no separator.

    >>> groups_of_names(["Greek/alpha", "Latin/a", "Greek/beta"])
    [[0, 2], [1]]
    """
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(class_names):
        parent, found, _ = str(name).rpartition(separator)
        if not found:
            raise ValueError(f"class {name!r} has no {separator!r} in its name, so it belongs to no group.")
        groups.setdefault(parent, []).append(number)
    return list(groups.values())


def groups_of_tree(children: Mapping[str, Sequence[str]], class_names: Sequence[str]) -> list[list[int]]:
    """For each inner node of a tree (or directed acyclic graph), the classes below it.

    Args:
        children: of each inner node, by name; leaves are class names.
        class_names: of the dataset; leaves that it lacks are left out.

    >>> groups_of_tree({"animal": ["dog", "cat"], "thing": ["animal", "car"]}, ["car", "cat", "dog"])
    [[1, 2], [0, 1, 2]]
    """
    number = {name: place for place, name in enumerate(class_names)}
    below: dict[str, set[int]] = {}

    def leaves(node: str, path: tuple[str, ...]) -> set[int]:
        if node in path:
            raise ValueError(f"the tree has a cycle: {' -> '.join((*path, node))}.")
        if node not in below:
            found = {number[node]} if node in number else set()
            for child in children.get(node, ()):
                found |= leaves(child, (*path, node))
            below[node] = found
        return below[node]

    return [sorted(found) for node in children if (found := leaves(node, ()))]
