"""Encoders, one file per family. A new family is its file and one line here.

A spec string is ``family:model@checkpoint(option=value, ...)``, of which only the family is always needed::

    pixels(size=28)
    open_clip:ViT-B-32/laion2b_s34b_b79k
    open_clip:local-dir:models/my-clip
    text:minilm
    transformers:models/bert-base-uncased(pool='cls')
    nli:models/bart-large-mnli
    transformers:models/wav2vec2-large-lv60(layer=12)
    vectors:glove.6B.100d.txt.gz(pool='sif')
    tfidf:corpus.txt
    fewshot:tiny-clip
    torchvision:resnet18
    timm:mobilenetv2_100@weights/mobilenetv2.safetensors(pad_type='same', mean=0.5, std=0.5)
    timm:vit_small_patch16_224(layer='blocks.8', pool='cls')
    net:conv4(item_shape=(1, 28, 28))
    pca:FOLDER/
    trained:runs/meta
    tuned:TUNED/

``pca:`` and ``tuned:`` are what `fewshot.fit_pca` and ``fewshot finetune`` wrote, and their folder alone will do;
``trained:`` is the network that ``fewshot train --data --encoder`` trained. Every family also
takes ``decoding='full'``: large JPEGs at full size, where by default they are decoded no larger than the resize has use
for; ``decoding='device'``: by torchvision on the device that computes (nvJPEG on a GPU); and ``runtime='onnx'`` (or
``'compile'``, ``'torch'``): what computes the network, see `fewshot.runtimes`.

``@checkpoint`` is a local file of weights; a path that contains a bracket is given as ``checkpoint='...'``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fewshot.registry import Registry, build, parse_spec

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder as Encoder
    from fewshot.encoders.entailment import EntailmentModel as EntailmentModel
    from fewshot.encoders.module import ModuleEncoder as ModuleEncoder
    from fewshot.encoders.open_clip_models import OpenClipEncoder as OpenClipEncoder
    from fewshot.encoders.pixels import Pixels as Pixels
    from fewshot.encoders.preprocess import Preprocess as Preprocess
    from fewshot.encoders.sentence import SentenceEncoder as SentenceEncoder
    from fewshot.encoders.small_nets import SmallNet as SmallNet
    from fewshot.encoders.speech_models import SpeechEncoder as SpeechEncoder
    from fewshot.encoders.tfidf import TfidfEncoder as TfidfEncoder
    from fewshot.encoders.timm_models import TimmEncoder as TimmEncoder
    from fewshot.encoders.torchvision_models import TorchvisionEncoder as TorchvisionEncoder
    from fewshot.encoders.transformer_models import TransformersEncoder as TransformersEncoder
    from fewshot.encoders.word_vectors import WordVectors as WordVectors

ENTRIES = {
    "fewshot": "fewshot.encoders.bundled:bundled",
    "net": "fewshot.encoders.small_nets:SmallNet",
    "nli": "fewshot.encoders.entailment:EntailmentModel",
    "open_clip": "fewshot.encoders.open_clip_models:OpenClipEncoder",
    "pca": "fewshot.unsupervised.pca:load_pca",
    "pixels": "fewshot.encoders.pixels:Pixels",
    "text": "fewshot.encoders.sentence:SentenceEncoder",
    "tfidf": "fewshot.encoders.tfidf:TfidfEncoder",
    "timm": "fewshot.encoders.timm_models:TimmEncoder",
    "torchvision": "fewshot.encoders.torchvision_models:TorchvisionEncoder",
    "transformers": "fewshot.encoders.transformer_models:transformers_model",
    "vectors": "fewshot.encoders.word_vectors:WordVectors",
    "trained": "fewshot.transfer.backbone:trained",
    "tuned": "fewshot.transfer.tuned_folder:tuned",
}
ENCODERS = Registry("encoder", ENTRIES, "fewshot.encoders")
KNOWN_MODELS = {  # what people type, and what they mean; also the beginning of longer names
    "mobilenet": "'timm:mobilenetv2_100' or 'torchvision:mobilenet_v2'",
    "resnet": "'timm:resnet18' or 'torchvision:resnet18' (likewise resnet50)",
    "efficientnet": "'timm:efficientnet_b0'",
    "convnext": "'timm:convnext_tiny'",
    "dinov2": "'timm:vit_small_patch14_dinov2.lvd142m'",
    "dino": "'timm:vit_small_patch16_224.dino' or, newer, 'timm:vit_small_patch14_dinov2.lvd142m'",
    "vit": "'timm:vit_small_patch16_224', or for CLIP 'open_clip:ViT-B-32/laion2b_s34b_b79k'",
    "siglip": "'open_clip:ViT-B-16-SigLIP/webli'",
    "clip": "'open_clip:ViT-B-32/laion2b_s34b_b79k'",
    "minilm": "'text:minilm'",
    "all-minilm": "'text:minilm'",
    **dict.fromkeys(
        ("bert", "distilbert", "roberta", "gpt", "wav2vec"),
        "'transformers:FOLDER', where such a model lies; of sentences without one, 'text:minilm'",
    ),
}
CHOICES = {  # attributes of every encoder that a spec may set
    "decoding": ("reduced", "full", "device"),
    "runtime": ("auto", "torch", "compile", "onnx"),
}
_RESNETS = tuple(f"resnet{layers}" for layers in (18, 34, 50, 101, 152))
_CLASSES = {
    "Encoder": "fewshot.encoders.encoder",
    "ModuleEncoder": "fewshot.encoders.module",
    "Preprocess": "fewshot.encoders.preprocess",
    "SpeechEncoder": "fewshot.encoders.speech_models",
    "TransformersEncoder": "fewshot.encoders.transformer_models",
    **{
        entry.partition(":")[2]: entry.partition(":")[0]
        for entry in ENTRIES.values()
        if entry.partition(":")[2][0].isupper()
    },
}


def list_encoders() -> list[str]:
    """Names of all encoder families, built-in and installed."""
    return ENCODERS.names()


def load_encoder(spec: str | os.PathLike[str] | Encoder) -> Encoder:
    """Make an encoder from its spec string; an `Encoder` is returned as it is.

    Families, each with one of its specs (`fewshot.encoders` explains the form)::

        fewshot       fewshot:tiny-clip                            small weights that come along
        net           net:conv4(item_shape=(1, 28, 28))            Conv-4, ResNet-12, MLP
        nli           nli:models/bart-large-mnli                   entailment: class names as hypotheses
        open_clip     open_clip:ViT-B-32/laion2b_s34b_b79k         CLIP and SigLIP: pictures and texts
        pca           pca:FOLDER/                                  what `fewshot.fit_pca` wrote
        pixels        pixels(size=28)                              the picture itself
        text          text:minilm                                  sentence encoders
        tfidf         tfidf:corpus.txt                             counts of words
        timm          timm:mobilenetv2_100                         networks of timm
        torchvision   torchvision:resnet18                         networks of torchvision
        trained       trained:runs/meta                            what ``fewshot train`` wrote
        transformers  transformers:models/bert-base-uncased        BERT, GPT, wav2vec2, ... in a folder
        tuned         tuned:TUNED/                                 what ``fewshot finetune`` wrote
        vectors       vectors:glove.6B.100d.txt.gz(pool='sif')     word vectors

    Args:
        spec: ``family:model@checkpoint(option=value, ...)``; a folder that `fewshot.fit_pca` or ``fewshot finetune``
            wrote; or an `Encoder`.

    Raises:
        ValueError: unknown family, model or option (the message suggests near ones), or unreadable spec.
        FileNotFoundError: the checkpoint is not there.
        ConnectionError: pretrained weights would have to be downloaded, and there is no network.

    Example:
        >>> load_encoder("pixels(size=28)")
        Pixels('pixels(size=28)', dim=2352, cpu)
    """
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)
    if not isinstance(spec, str):
        return _checked(spec)
    if os.path.isfile(os.path.join(spec, "tuned.json")):
        spec = f"tuned:{spec}"
    elif os.path.isfile(os.path.join(spec, "pca.json")):
        spec = f"pca:{spec}"
    name, options = parse_spec(spec)
    family, colon, model = name.partition(":")
    model, at, checkpoint = model.partition("@")
    if at and "checkpoint" in options:
        raise ValueError(f"{spec!r} names its checkpoint twice; keep '@{checkpoint}' or checkpoint=.")
    arguments: dict[str, Any] = {"model": model} if colon else {}
    if at:
        arguments["checkpoint"] = checkpoint
    factory = _factory(spec, family.strip(), colon)
    if colon and not model and not at:
        raise ValueError(f'{spec!r} names no model; write "{family}:MODEL".')
    chosen = {name: _choice(spec, name, options.pop(name)) for name in CHOICES if name in options}
    try:
        encoder: Encoder = build(factory, family, {**arguments, **options})
    except TypeError as error:
        if "missing" in str(error) and not model:
            raise ValueError(f'{spec!r} names no model; write "{family}:MODEL".') from None
        raise
    for name, value in chosen.items():
        setattr(encoder, name, value)
    return encoder


def _choice(spec: str, name: str, value: Any) -> str:
    if value not in CHOICES[name]:
        raise ValueError(f"{name}={value!r} in {spec!r}; it must be one of {', '.join(CHOICES[name])}.")
    return str(value)


def _factory(spec: str, family: str, colon: str) -> Any:
    try:
        return ENCODERS.get(family)
    except ValueError as error:
        known = (
            KNOWN_MODELS.get(family.lower())
            or _of_that_size(family.lower())
            or next((full for start, full in KNOWN_MODELS.items() if family.lower().startswith(start)), None)
        )
        if os.path.isdir(spec):
            raise ValueError(
                f"{spec!r} is a folder, but holds no tuned encoder (tuned.json); give a model such as "
                "'timm:mobilenetv2_100', or a folder that `fewshot finetune` wrote."
            ) from None
        if colon or known is None:
            raise
        raise ValueError(f"{spec!r} is a model without its family; write {known}.") from error


def _of_that_size(name: str) -> str | None:
    """``"resnet50"`` as both libraries write it; other families have names that must be known."""
    return f"'timm:{name}' or 'torchvision:{name}'" if name in _RESNETS else None


def _checked(encoder: Any) -> Encoder:
    from torch import nn

    if isinstance(encoder, nn.Module):
        raise ValueError(
            f"{type(encoder).__name__} is a bare module; give its preprocessing with it: "
            "ModuleEncoder(module, transform)."
        )

    from fewshot.encoders import encoder as base

    if not isinstance(encoder, base.Encoder):
        raise ValueError(
            f"{encoder!r} is no encoder; give a spec string such as 'timm:resnet18', a ModuleEncoder, or "
            "your own subclass of fewshot.encoders.Encoder."
        )
    return encoder


if not TYPE_CHECKING:  # so that a name which does not exist is found by type checkers

    def __getattr__(name: str) -> Any:
        """`fewshot.encoders.ModuleEncoder`: classes by name, imported when first used."""
        if name in _CLASSES:
            from importlib import import_module

            return getattr(import_module(_CLASSES[name]), name)
        raise AttributeError(f"module 'fewshot.encoders' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_CLASSES])
