"""Samplers by spec string: ``"dirichlet(alpha=2.0)"``."""

from __future__ import annotations

from typing import Any

from fewshot.registry import parse_spec, unknown

NAMES = (
    "fixed", "disjoint", "dirichlet", "hierarchical", "variable", "open-set", "semi-supervised",
    "exhaustive", "manifest",
)  # fmt: skip


def make_samplers(spec: str, source: Any, ways: list[int], shots: list[int], query: int, seed: int) -> list[Any]:
    """One sampler for each way and shot (just one where a sampler draws these itself).

    Raises:
        ValueError: an unknown name, or an argument that the sampler does not have.
    """
    import episodes
    from episodes.hierarchical import groups_of_names

    name, arguments = parse_spec(spec)
    if name not in NAMES:
        raise ValueError(unknown("sampler", name, NAMES))
    labels, given = source.labels, {**arguments, "name": source.name}
    try:
        if name == "manifest":
            return [episodes.ManifestSampler(labels=labels, **given)]
        if name == "variable":
            return [episodes.VariableSampler(labels, query, seed, **given)]
        pairs = [(way, shot) for way in ways for shot in shots]
        if name == "exhaustive":
            return [episodes.ExhaustiveSampler(labels, way, shot, **given) for way, shot in pairs]
        if name == "hierarchical":
            groups = groups_of_names(source.class_names, given.pop("separator", "/"))
            return [
                episodes.HierarchicalSampler(labels, groups, way, shot, query, seed, **given) for way, shot in pairs
            ]
        kinds: dict[str, Any] = {
            "fixed": episodes.EpisodeSampler,
            "disjoint": episodes.DisjointSampler,
            "dirichlet": episodes.DirichletSampler,
            "open-set": episodes.OpenSetSampler,
            "semi-supervised": episodes.SemiSupervisedSampler,
        }
        return [kinds[name](labels, way, shot, query, seed, **given) for way, shot in pairs]
    except TypeError as error:
        raise ValueError(f"sampler {spec!r}: {error}.") from error
