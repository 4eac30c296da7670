"""Transforms of features, put in front of any learner: ``"l2 | prototypes"``, ``"cl2n | ridge"``."""

from __future__ import annotations

import warnings
from typing import Any

from fewshot.registry import Registry, load_one
from fewshot.transforms.base_statistics import CL2N as CL2N
from fewshot.transforms.base_statistics import Centre as Centre
from fewshot.transforms.base_statistics import Standardise as Standardise
from fewshot.transforms.base_statistics import Whiten as Whiten
from fewshot.transforms.pipeline import Pipeline as Pipeline
from fewshot.transforms.scaling import L2 as L2
from fewshot.transforms.scaling import Power as Power
from fewshot.transforms.scaling import Rescale as Rescale
from fewshot.transforms.transform import Transform as Transform

ENTRIES = {
    "l2": "fewshot.transforms:L2",
    "centre": "fewshot.transforms:Centre",
    "power": "fewshot.transforms:Power",
    "rescale": "fewshot.transforms:Rescale",
    "standardise": "fewshot.transforms:Standardise",
    "whiten": "fewshot.transforms:Whiten",
    "cl2n": "fewshot.transforms:CL2N",
    "coral": "fewshot.adaptation.statistics:CORAL",
    "domain-centre": "fewshot.adaptation.statistics:DomainCentre",
    "domain-standardise": "fewshot.adaptation.statistics:DomainStandardise",
    "subspace-alignment": "fewshot.adaptation.subspace:SubspaceAlignment",
    "tca": "fewshot.adaptation.components:TCA",
    "jda": "fewshot.adaptation.components:JDA",
    "optimal-transport": "fewshot.adaptation.optimal_transport:OptimalTransport",
    "kmm": "fewshot.adaptation.kernel_mean_matching:KernelMeanMatching",
    "density-ratio": "fewshot.adaptation.density_ratio:DensityRatio",
    "kliep": "fewshot.adaptation.density_ratio:KLIEP",
    "pseudo-labels": "fewshot.adaptation.pseudo_labels:PseudoLabels",
    "prototype-alignment": "fewshot.adaptation.pseudo_labels:PrototypeAlignment",
    "backbone": "fewshot.transfer.backbone:BackboneFront",
    "conv4": "fewshot.nets.front:Conv4Front",
    "mlp": "fewshot.nets.front:MLPFront",
    "resnet12": "fewshot.nets.front:ResNet12Front",
}
TRANSFORMS = Registry("transform", ENTRIES, "fewshot.transforms")


def list_transforms() -> list[str]:
    """Names of all transforms, built-in and installed."""
    return TRANSFORMS.names()


def load_transform(spec: str | Transform) -> Transform:
    """Make a transform from its spec string; one that is made already is returned as it is.

    Raises:
        ValueError: an unknown name or argument (the message suggests near ones), or one out of range.

    >>> load_transform("power(beta=0.3)")
    power(beta=0.3)
    """
    return load_one(TRANSFORMS, spec, Transform, "transform", "power(beta=0.3)")


def __getattr__(name: str) -> Any:
    """`Chain`, the name of `Pipeline` in version 0.1."""
    if name == "Chain":
        warnings.warn("fewshot.transforms.Chain is now called Pipeline.", DeprecationWarning, stacklevel=2)
        return Pipeline
    raise AttributeError(f"module 'fewshot.transforms' has no attribute {name!r}")
