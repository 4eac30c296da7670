"""Learners, one file each. A new one is its file and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fewshot.registry import Registry, build, parse_spec

if TYPE_CHECKING:
    from fewshot.learner import Learner

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
    if not isinstance(spec, str):
        return spec
    *fronts, last = split_spec(spec)
    name, arguments = parse_spec(last)
    name = LEARNERS.canonical(name)
    learner = build(LEARNERS.get(name), name, arguments)
    if not fronts:
        return learner
    from fewshot.transforms import Pipeline, load_transform

    transforms = [load_transform(front) for front in fronts]
    if any(transform.sees_target for transform in transforms):
        from fewshot.adaptation.adapter import AdaptedPipeline

        return AdaptedPipeline(transforms, learner)
    return Pipeline(transforms, learner)


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
