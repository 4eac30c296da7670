"""Samplers: how episodes are drawn, each a file with its class. A new one is its file and one line here."""

from __future__ import annotations

from episodes.registry import Registry

ENTRIES = {
    "fixed": "episodes.samplers.fixed:EpisodeSampler",
    "disjoint": "episodes.samplers.disjoint:DisjointSampler",
    "dirichlet": "episodes.samplers.imbalanced:DirichletSampler",
    "hierarchical": "episodes.samplers.hierarchical:HierarchicalSampler",
    "variable": "episodes.samplers.variable:VariableSampler",
    "open-set": "episodes.samplers.open_set:OpenSetSampler",
    "semi-supervised": "episodes.samplers.semi_supervised:SemiSupervisedSampler",
    "exhaustive": "episodes.samplers.exhaustive:ExhaustiveSampler",
    "cross-domain": "episodes.samplers.cross_domain:CrossDomainSampler",
    "manifest": "episodes.samplers.manifest:ManifestSampler",
}
SAMPLERS = Registry("sampler", ENTRIES, "episodes.samplers")
