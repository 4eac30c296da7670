"""Learners, one file each. A new one is its file and one line here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fewshot.registry import Registry, build, parse_spec

if TYPE_CHECKING:
    from fewshot.learner import Learner
    from fewshot.learners.baseline_plus_plus import BaselinePlusPlus as BaselinePlusPlus
    from fewshot.learners.bd_cspn import BDCSPN as BDCSPN
    from fewshot.learners.clap import CLAP as CLAP
    from fewshot.learners.clip_adapter import CLIPAdapter as CLIPAdapter
    from fewshot.learners.cross_modal import CrossModal as CrossModal
    from fewshot.learners.distribution_calibration import DistributionCalibration as DistributionCalibration
    from fewshot.learners.feat import FEAT as FEAT
    from fewshot.learners.fine_tune import FineTune as FineTune
    from fewshot.learners.gda import GDA as GDA
    from fewshot.learners.label_propagation import LabelPropagation as LabelPropagation
    from fewshot.learners.laplacian_shot import LaplacianShot as LaplacianShot
    from fewshot.learners.lda import LDA as LDA
    from fewshot.learners.logistic import Logistic as Logistic
    from fewshot.learners.lp_plus_plus import LPPlusPlus as LPPlusPlus
    from fewshot.learners.mahalanobis import Mahalanobis as Mahalanobis
    from fewshot.learners.maml_family.anil import ANIL as ANIL
    from fewshot.learners.maml_family.boil import BOIL as BOIL
    from fewshot.learners.maml_family.fomaml import FOMAML as FOMAML
    from fewshot.learners.maml_family.maml import MAML as MAML
    from fewshot.learners.maml_family.maml_plus_plus import MAMLPlusPlus as MAMLPlusPlus
    from fewshot.learners.maml_family.metasgd import MetaSGD as MetaSGD
    from fewshot.learners.maml_family.proto_maml import ProtoMAML as ProtoMAML
    from fewshot.learners.maml_family.reptile import Reptile as Reptile
    from fewshot.learners.matching import Matching as Matching
    from fewshot.learners.metaoptnet import MetaOptNet as MetaOptNet
    from fewshot.learners.nearest import Nearest as Nearest
    from fewshot.learners.proker import ProKeR as ProKeR
    from fewshot.learners.prototypes import Prototypes as Prototypes
    from fewshot.learners.pt_map import PTMAP as PTMAP
    from fewshot.learners.r2d2 import R2D2 as R2D2
    from fewshot.learners.relation import Relation as Relation
    from fewshot.learners.ridge import Ridge as Ridge
    from fewshot.learners.scaled_prototypes import ScaledPrototypes as ScaledPrototypes
    from fewshot.learners.scikit_learn import SklearnLearner as SklearnLearner
    from fewshot.learners.simpleshot import SimpleShot as SimpleShot
    from fewshot.learners.soft_kmeans import SoftKMeans as SoftKMeans
    from fewshot.learners.stata import StatA as StatA
    from fewshot.learners.subspace import Subspace as Subspace
    from fewshot.learners.svm import SVM as SVM
    from fewshot.learners.task_res import TaskRes as TaskRes
    from fewshot.learners.tim_adm import TIMADM as TIMADM
    from fewshot.learners.tim_family.alpha_tim import AlphaTIM as AlphaTIM
    from fewshot.learners.tim_family.tim import TIM as TIM
    from fewshot.learners.tim_family.transductive_finetune import TransductiveFineTune as TransductiveFineTune
    from fewshot.learners.tip_adapter import TipAdapter as TipAdapter
    from fewshot.learners.tip_adapter_f import TipAdapterF as TipAdapterF
    from fewshot.learners.transclip import TransCLIP as TransCLIP
    from fewshot.learners.zero_shot import ZeroShot as ZeroShot
    from fewshot.learners.zlap import ZLaP as ZLaP
    from fewshot.learners.zs_lp import ZSLP as ZSLP
    from fewshot.transfer.learner import Tuned as Tuned
    from fewshot.transfer.pmf import PMF as PMF

ENTRIES = {
    "alpha-tim": "fewshot.learners.tim_family.alpha_tim:AlphaTIM",
    "anil": "fewshot.learners.maml_family.anil:ANIL",
    "baseline++": "fewshot.learners.baseline_plus_plus:BaselinePlusPlus",
    "bd-cspn": "fewshot.learners.bd_cspn:BDCSPN",
    "boil": "fewshot.learners.maml_family.boil:BOIL",
    "clap": "fewshot.learners.clap:CLAP",
    "clip-adapter": "fewshot.learners.clip_adapter:CLIPAdapter",
    "cross-modal": "fewshot.learners.cross_modal:CrossModal",
    "distribution-calibration": "fewshot.learners.distribution_calibration:DistributionCalibration",
    "feat": "fewshot.learners.feat:FEAT",
    "fine-tune": "fewshot.learners.fine_tune:FineTune",
    "fomaml": "fewshot.learners.maml_family.fomaml:FOMAML",
    "gda": "fewshot.learners.gda:GDA",
    "label-propagation": "fewshot.learners.label_propagation:LabelPropagation",
    "laplacian-shot": "fewshot.learners.laplacian_shot:LaplacianShot",
    "lda": "fewshot.learners.lda:LDA",
    "logistic": "fewshot.learners.logistic:Logistic",
    "lp++": "fewshot.learners.lp_plus_plus:LPPlusPlus",
    "mahalanobis": "fewshot.learners.mahalanobis:Mahalanobis",
    "maml": "fewshot.learners.maml_family.maml:MAML",
    "maml++": "fewshot.learners.maml_family.maml_plus_plus:MAMLPlusPlus",
    "matching": "fewshot.learners.matching:Matching",
    "metasgd": "fewshot.learners.maml_family.metasgd:MetaSGD",
    "metaoptnet": "fewshot.learners.metaoptnet:MetaOptNet",
    "nearest": "fewshot.learners.nearest:Nearest",
    "pmf": "fewshot.transfer.pmf:PMF",
    "proker": "fewshot.learners.proker:ProKeR",
    "proto-maml": "fewshot.learners.maml_family.proto_maml:ProtoMAML",
    "prototypes": "fewshot.learners.prototypes:Prototypes",
    "pt-map": "fewshot.learners.pt_map:PTMAP",
    "r2d2": "fewshot.learners.r2d2:R2D2",
    "relation": "fewshot.learners.relation:Relation",
    "reptile": "fewshot.learners.maml_family.reptile:Reptile",
    "ridge": "fewshot.learners.ridge:Ridge",
    "scaled-prototypes": "fewshot.learners.scaled_prototypes:ScaledPrototypes",
    "simpleshot": "fewshot.learners.simpleshot:SimpleShot",
    "sklearn": "fewshot.learners.scikit_learn:SklearnLearner",
    "soft-kmeans": "fewshot.learners.soft_kmeans:SoftKMeans",
    "stata": "fewshot.learners.stata:StatA",
    "subspace": "fewshot.learners.subspace:Subspace",
    "svm": "fewshot.learners.svm:SVM",
    "taskres": "fewshot.learners.task_res:TaskRes",
    "tim": "fewshot.learners.tim_family.tim:TIM",
    "tim-adm": "fewshot.learners.tim_adm:TIMADM",
    "tip-adapter": "fewshot.learners.tip_adapter:TipAdapter",
    "tip-adapter-f": "fewshot.learners.tip_adapter_f:TipAdapterF",
    "transclip": "fewshot.learners.transclip:TransCLIP",
    "transductive-finetune": "fewshot.learners.tim_family.transductive_finetune:TransductiveFineTune",
    "tuned": "fewshot.transfer.learner:Tuned",
    "zero-shot": "fewshot.learners.zero_shot:ZeroShot",
    "zlap": "fewshot.learners.zlap:ZLaP",
    "zs-lp": "fewshot.learners.zs_lp:ZSLP",
}
ALIASES = {  # names under which people know some of them
    "cnaps": "mahalanobis",
    "dsn": "subspace",
    "finetune": "fine-tune",
    "fo-maml": "fomaml",
    "knn": "nearest",
    "linear-probe": "logistic",
    "maml-plus-plus": "maml++",
    "meta-sgd": "metasgd",
    "nn": "nearest",
    "protomaml": "proto-maml",
    "protonet": "prototypes",
    "simple-cnaps": "mahalanobis",
    "task-res": "taskres",
}
LEARNERS = Registry("learner", ENTRIES, "fewshot.learners", ALIASES)


def list_learners() -> list[str]:
    """Names of all learners, built-in and installed."""
    return LEARNERS.names()


def load_learner(spec: str | Learner) -> Learner:
    """Make a learner from its spec string; transforms may stand in front, separated by ``|``.

    Names that people use for some learners are understood as well: ``"protonet"`` is ``"prototypes"``, ``"knn"`` is
    ``"nearest"``. Such a learner is the same, and says the same of itself, as under its own name.

    Raises:
        ValueError: unknown name or argument (the message suggests near ones), or unreadable spec.

    >>> load_learner("prototypes")
    prototypes
    >>> load_learner("protonet")
    prototypes
    >>> load_learner("l2 | prototypes(distance='cosine')")
    l2 | prototypes(distance='cosine')
    """
    if isinstance(spec, os.PathLike):
        raise ValueError(f"{spec!r} is a path; give a learner such as 'l2 | ridge' (fewshot list learners).")
    if not isinstance(spec, str):
        return spec
    *fronts, last = split_spec(spec)
    name, arguments = parse_spec(last)
    name = LEARNERS.canonical(name)
    if name not in ENTRIES:
        _refuse_misplaced(name, fronts)
    learner = build(LEARNERS.get(name), name, arguments)
    if not fronts:
        return learner
    from fewshot.transforms import Pipeline, load_transform

    transforms = [load_transform(front) for front in fronts]
    if any(transform.sees_target for transform in transforms):
        from fewshot.adaptation.adapter import AdaptedPipeline

        return AdaptedPipeline(transforms, learner)
    return Pipeline(transforms, learner)


def _refuse_misplaced(name: str, fronts: list[str]) -> None:
    """Refuse a transform in the place of the learner, and several learners in one spec."""
    from fewshot.transforms import TRANSFORMS

    known = LEARNERS.names()
    if name in TRANSFORMS.entries and name not in known:
        example = f"{name} | {fronts[-1] if fronts else 'prototypes'}"
        raise ValueError(f"{name!r} is a transform; it stands in front of a learner: {example!r}.")
    several = [LEARNERS.canonical(part.strip()) for part in name.split(",")]
    if len(several) > 1 and set(several) <= set(known):
        raise ValueError(
            f"{name!r} names {len(several)} learners; on the command line several are separated by blanks: "
            f"{' '.join(several)}; in Python give a list."
        )


def split_spec(spec: str) -> list[str]:
    """Split a spec at each ``|`` outside quotes."""
    places, quote, escaped = [-1], "", False
    for place, character in enumerate(spec):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        elif character == "|":
            places.append(place)
    return [spec[a + 1 : b].strip() for a, b in zip(places, [*places[1:], len(spec)], strict=True)]


if not TYPE_CHECKING:  # so that a name which does not exist is found by type checkers

    def __getattr__(name: str) -> Any:
        """`fewshot.learners.Prototypes`: learner classes by name, imported when first used."""
        for entry in ENTRIES.values():
            module, _, attribute = entry.partition(":")
            if attribute == name:
                from importlib import import_module

                return getattr(import_module(module), name)
        raise AttributeError(f"module 'fewshot.learners' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(entry.partition(":")[2] for entry in ENTRIES.values())])
