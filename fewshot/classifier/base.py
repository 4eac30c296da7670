"""What both classifiers are to scikit-learn: their parameters, their copies, the learner and the device."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from episodes.device import choose_device
from fewshot.classifier.adapted import Adapted
from fewshot.classifier.fitted_encoder import FittedEncoder
from fewshot.classifier.parameters import nested_parameters, with_parameters
from fewshot.classifier.rows import FEW
from fewshot.learner import Learner
from fewshot.learners import load_learner

if TYPE_CHECKING:
    from typing_extensions import Self


_PREFIX = "learner__"


class LearnerEstimator(ClassifierMixin, BaseEstimator):
    """An estimator around a learner that adapts once, in `fit`, and around a frozen encoder, which is never copied."""

    saved_parameters: ClassVar[tuple[str, ...]] = ("reject", "reject_label", "calibrated")  # besides encoder, learner

    encoder: Any
    learner: str | Learner
    device: torch.device | str
    cache: Any
    batch_size: int | str
    calibrated: bool
    reject: float | None
    reject_label: Any

    _adapted: Adapted  # what `fit` makes; its presence says that the classifier is fitted
    _fitted_encoder: FittedEncoder | None = None  # what the encoder was then
    encoder_: Any

    def save(self, path: str | os.PathLike[str], *, weights: bool = True) -> Path:
        """Write the fitted classifier into a folder: ``config.json`` and ``model.safetensors``, no pickle.

        File names of examples are not written, as they may say more than one wants to share. The folder can be moved to
        another machine.

        Args:
            path: the folder.
            weights: where the encoder's spec names a file of weights, that is copied into the folder; False leaves it
                where it is, and `load` then needs ``encoder=``.

        Raises:
            ValueError: the learner's spec string does not make it again.
        """
        from fewshot.classifier.saving import save

        check_is_fitted(self, "_adapted")
        return save(self, Path(path), weights=weights)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **changes: Any) -> Self:
        """Read a classifier that `save` wrote; nothing in the folder is ever executed.

        Args:
            path: the folder.
            changes: parameters that are not saved or shall differ: ``device``, ``cache``, ``reject``, or an
                ``encoder`` that was made in Python.

        Raises:
            ValueError: not such a folder, a damaged one, or one of a later version.
        """
        from fewshot.classifier.saving import load

        return load(cls, Path(path), changes)

    def export(self, path: str | os.PathLike[str], *, inputs: str = "auto", opset: int = 18) -> Path:
        """Write the fitted classifier as one ONNX file, which answers without torch; see `fewshot.export.export`.

        Args:
            path: of the file, such as ``"model.onnx"``.
            inputs: ``"pixels"`` (8-bit pictures), ``"features"``, or ``"auto"``.
            opset: version of the operators, 18 to 23.

        Raises:
            ValueError: a part that no graph can hold, such as a transductive learner or a tokenizer; it is named.
            ImportError: ``fewshot[onnx]`` is not installed.
        """
        from fewshot.export import export

        check_is_fitted(self, "_adapted")
        return export(self, path, inputs=inputs, opset=opset)

    def save_pretrained(self, path: str | os.PathLike[str]) -> Path:
        """Write the fitted classifier as `save` does, and a model card, ``README.md``."""
        from fewshot.classifier.hub import save_with_card

        check_is_fitted(self, "_adapted")
        return save_with_card(self, Path(path))

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        api: Any = None,
        **changes: Any,
    ) -> Self:
        """Read a classifier from a folder, or from a repository of the Hugging Face hub.

        Args:
            name: the folder, or ``"OWNER/NAME"``.
            revision: branch, tag or commit of the repository.
            token: of the hub, where it is private.
            api: what downloads, in place of `huggingface_hub`; it has ``snapshot_download``.
            changes: as in `load`.

        Raises:
            ConnectionError: the hub does not answer, and no copy is here.
            FileNotFoundError: no such folder or repository.
            ValueError: what is there is no such classifier, or damaged.
        """
        from fewshot.classifier.hub import from_pretrained

        return from_pretrained(cls, os.fspath(name), revision, token, api, changes)

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        message: str = "Classifier of fewshot",
        api: Any = None,
    ) -> str:
        """Upload the fitted classifier and its card to a repository of the Hugging Face hub.

        The features of the examples are part of it, and the weights of an encoder's local file.

        Args:
            name: ``"OWNER/NAME"``; made where it is not there.
            private: whether a new repository is.
            token: of the hub; None is the one that was logged in with.
            message: of the commit.
            api: a `huggingface_hub.HfApi`, or what has its ``create_repo`` and ``upload_folder``.

        Returns:
            What the hub says of the commit: its address.

        Raises:
            ConnectionError: the hub does not answer.
        """
        from fewshot.classifier.hub import push

        check_is_fitted(self, "_adapted")
        return push(self, name, private=private, token=token, message=message, api=api)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, with `deep` also the learner's as ``learner__name``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            try:
                nested = nested_parameters(self.learner) if isinstance(self.learner, str | Learner) else {}
            except ValueError:  # a wrong spec is for `fit` to complain about
                nested = {}
            params |= {f"{_PREFIX}{name}": value for name, value in nested.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``learner__name`` makes a new learner, and leaves one given as an object alone."""
        nested = {name.removeprefix(_PREFIX): params[name] for name in params if name.startswith(_PREFIX)}
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(_PREFIX)})
        if nested:
            self.learner = with_parameters(self.learner, nested)
        return self

    def __sklearn_clone__(self) -> Self:
        # The default copies every object deeply; a frozen encoder may weigh gigabytes and never changes.
        params = self.get_params(deep=False)
        shared = ("encoder", "cache")
        return type(self)(**{k: v if k in shared else clone(v, safe=False) for k, v in params.items()})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.encoder is not None:
            tags.input_tags.two_d_array = False
            tags.input_tags.string = True
        return tags

    def _check(self) -> None:
        """Refuse parameters that are out of range."""
        if not isinstance(self.learner, str | Learner):
            raise ValueError(f"learner={self.learner!r}; give a spec string like 'ridge(alpha=0.1)', or a Learner.")
        if self.reject is not None and not 0 <= self.reject <= 1:
            raise ValueError(f"reject={self.reject!r}; it is a probability 0..1, or None to answer always.")
        if self.batch_size != "auto" and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise ValueError(f"batch_size={self.batch_size!r}; it must be 'auto' or at least 1.")

    @contextmanager
    def _or_as_before(self) -> Iterator[None]:
        """An error, or an interrupt, leaves an earlier fit as it was."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def _own_learner(self) -> Learner:
        """A copy: moving a learner to a device or precision changes it."""
        return copy.deepcopy(load_learner(self.learner))

    def _own_encoder(self) -> Any:
        self._fitted_encoder = None
        if self.encoder is None:
            return None
        from fewshot.encoders import load_encoder

        return load_encoder(self.encoder)

    def _note_encoder(self) -> None:
        """At the end of `fit`: what the encoder is."""
        encoder = getattr(self, "encoder_", None)
        self._fitted_encoder = None if encoder is None else FittedEncoder(encoder)

    def _check_encoder(self, count: int | None = None) -> None:
        """Refuse an encoder that was changed after `fit`.

        Args:
            count: of the rows that are asked about: a few are asked about often, and are checked quickly.
        """
        if self._fitted_encoder is not None:
            self._fitted_encoder.check(self.encoder_, quickly=count is not None and count <= FEW)

    def _chosen_device(self) -> torch.device:
        return choose_device(self.device)

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What else `save` writes: JSON values, and tensors."""
        return {}, {}


def warn_uncalibrated(reject: float | None, calibrated: bool) -> None:
    """Say that a threshold is one of numbers that mean little."""
    if reject is not None and not calibrated:
        warnings.warn(
            f"reject={reject!r} with calibrated=False compares with probabilities of whatever scale the learner's "
            "logits have, and may reject everything or nothing; leave calibrated=True, or call calibrate.",
            stacklevel=4,
        )
