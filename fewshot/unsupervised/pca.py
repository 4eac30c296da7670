"""Principal components of an encoder's features, as an encoder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from episodes.files import write_atomically
from episodes.identity import digest, digest_array
from episodes.inputs import check_whole
from episodes.schema import field, read_json
from fewshot.encoders.encoder import Encoder

_FORMAT = 1
_WEIGHTS, _NOTES = "pca.safetensors", "pca.json"


class PCAEncoder(Encoder):
    """``z = (f(x) - mean) components^T``: an encoder followed by a linear map that was fitted without labels.

    Args:
        encoder: f.
        mean: of its features ``[D]``.
        components: directions, the one of the largest variance first ``[k, D]``.
        variance: share of the whole variance along each of them ``[k]``.
        spec: of the encoder, where that was given as one.
    """

    setting: ClassVar[str] = "self-taught"  # see `episodes.SETTINGS`

    def __init__(
        self, encoder: Encoder, mean: Tensor, components: Tensor, variance: Tensor, *, spec: str | None = None
    ) -> None:
        self.base, self.spec = encoder, spec
        self.mean, self.components, self.variance = mean, components, variance
        self.module, self.transform, self.domain = encoder.module, encoder.transform, encoder.domain
        self.decoding = encoder.decoding
        self.dim = len(components)
        self.name = f"{encoder.name}, pca({len(components)})"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """That of the encoder, and the map by value."""
        return {
            "family": "pca", "encoder": self.base.fingerprint, "mean": digest_array(self.mean),
            "components": digest_array(self.components),
        }  # fmt: skip

    def encodes(self, kind: str) -> bool:
        """Whether the encoder has a tower for rows of this kind."""
        return self.base.encodes(kind)

    def tower(self, kind: str) -> None:
        """None: the map is fitted to the encoder as it is, so no network is trained behind it."""
        return

    def encode_images(self, batch: Tensor) -> Tensor:
        """Components of images ``[B, *x] -> [B, k]``."""
        return self._projected(self.base.encode_images(batch))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Components of strings ``[B, k]``."""
        return self._projected(self.base.encode_texts(texts))

    def to(self, device: torch.device | str) -> PCAEncoder:
        """Move the encoder, and the map, to a device."""
        self.base.to(device)
        self.mean, self.components = self.mean.to(device), self.components.to(device)
        return self

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the map and, where the encoder was given as a spec string, that; read it with `load_pca`.

        Raises:
            ValueError: the folder holds a tuned encoder, which its name would go on to mean, or the encoder itself.
        """
        from safetensors.torch import save

        from fewshot.transfer.own_folder import refuse_own_folder
        from fewshot.transfer.packing import pack

        place = Path(folder)
        refuse_tuned(place)
        refuse_own_folder(self.spec, place)
        place.mkdir(parents=True, exist_ok=True)
        spec, packed = (None, None) if self.spec is None else pack(self.spec, place)
        tensors = {"mean": self.mean, "components": self.components, "variance": self.variance}
        content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_atomically(place / _WEIGHTS, save(content))
        notes = {
            "format": _FORMAT, "encoder": spec, "sha256": packed, "name": self.base.name,
            "base": digest(self.base.fingerprint), "map": digest(content),
        }  # fmt: skip
        write_atomically(place / _NOTES, (json.dumps(notes, indent=1) + "\n").encode())
        return place

    def _projected(self, features: Tensor) -> Tensor:
        mean, components = self.mean.to(features), self.components.to(features)
        return (features - mean) @ components.T


def refuse_tuned(folder: Path) -> None:
    """Refuse a folder where a tuned encoder lies: as an encoder's spec, the folder means that.

    Raises:
        ValueError: one does.
    """
    if (folder / "tuned.json").is_file():
        raise ValueError(f"{str(folder)!r} holds a tuned encoder (tuned.json); take another folder for the components.")


def fit_pca(
    encoder: str | Encoder, source: Any, k: int = 64, *, whiten: bool = False, cache: Any = None, progress: bool = True
) -> PCAEncoder:
    """Fit principal components to an encoder's features of unlabelled rows; the result is an encoder.

    The components are the eigenvectors of the features' covariance with the k largest eigenvalues, their largest entry
    positive.

    Args:
        encoder: spec string or `Encoder`; ``"pixels"`` for the pixels themselves.
        source: rows as `fewshot.embed` takes them; labels are not looked at, and pictures in a folder need none.
        k: how many components.
        whiten: divide each by its standard deviation.
        cache: of embeddings, as in `fewshot.embed`.
        progress: show a bar.

    Raises:
        ValueError: k is larger than the rank that M rows of D features can have.

    References: Pearson, "On lines and planes of closest fit to systems of points in space", Philosophical Magazine 2
    (1901); Raina, Battle, Lee, Packer, Ng, "Self-taught learning: transfer learning from unlabeled data", ICML 2007.
    """
    from episodes.any_source import as_source
    from episodes.datasets.unlabelled import load_unlabelled
    from fewshot.embedding import embed
    from fewshot.encoders import load_encoder

    base = load_encoder(encoder)
    spec = os.fspath(encoder) if isinstance(encoder, str | os.PathLike) else None
    items = as_source(load_unlabelled(source) if isinstance(source, (str, os.PathLike)) else source, base)
    rows = embed(items, base, cache=cache, storage="float32", progress=progress).features.double().cpu()  # [M, D]
    check_whole("k", k)
    most = min(len(rows) - 1, rows.shape[1])
    if k > most:
        raise ValueError(
            f"k={k}, but {len(rows)} rows of {rows.shape[1]} features have at most {most} components; lower k, or give "
            "more rows."
        )
    mean, components, variance = principal_components(rows, k, whiten)
    return PCAEncoder(base, mean.float(), components.float(), variance.float(), spec=spec)


def principal_components(rows: Tensor, k: int, whiten: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``[D]``, components ``[k, D]`` and the share of the variance along each ``[k]``.

    Args:
        rows: ``[M, D]``, in double precision.
        k: how many.
        whiten: components divided by the standard deviation of the rows along them.
    """
    mean = rows.mean(0)
    centred = rows - mean
    scale = len(rows) - 1
    if rows.shape[1] <= len(rows):
        values, vectors = torch.linalg.eigh(centred.T @ centred / scale)  # ascending
        components = vectors.T.flip(0)[:k]  # [k, D]
    else:  # M equations instead of D
        values, vectors = torch.linalg.eigh(centred @ centred.T / scale)
        components = (centred.T @ vectors.flip(1)[:, :k]).T
        components = components / torch.linalg.vector_norm(components, dim=1, keepdim=True).clamp(min=1e-300)
    found = values.flip(0)[:k].clamp(min=0)
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    components = components * torch.where(largest < 0, -1.0, 1.0)
    share = found / values.clamp(min=0).sum().clamp(min=1e-300)
    if whiten:  # directions without variance stay as they are, rather than become noise
        deviation = found.sqrt().unsqueeze(1)
        components = components / torch.where(deviation > 1e-7 * found[:1].sqrt().clamp(min=1e-300), deviation, 1.0)
    return mean, components, share


def load_pca(model: str, encoder: str | Encoder | None = None) -> PCAEncoder:
    """Read what `PCAEncoder.save` wrote.

    Args:
        model: the folder.
        encoder: the encoder before the map; it may be left out where that was given as a spec string.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: another encoder, or files that are damaged or do not belong together.
    """
    from fewshot.encoders import load_encoder
    from fewshot.encoders.checkpoint import read_checkpoint
    from fewshot.transfer.packing import unpack

    folder = Path(model).expanduser()
    path = folder / _NOTES
    if not path.is_file():
        raise FileNotFoundError(f"there is no {str(path)!r}; give the folder that PCAEncoder.save wrote.")
    notes = read_json(path)
    if not isinstance(notes, dict) or notes.get("format") != _FORMAT:
        raise ValueError(f"{str(path)!r} is damaged, or of another release: its format is not {_FORMAT}.")
    where = repr(str(path))
    spec = field(notes, "encoder", (str, type(None)), where)
    if encoder is None:
        if spec is None:
            raise ValueError(
                f"{str(folder)!r} does not name its encoder; give encoder=, the one that it was fitted to."
            )
        encoder = unpack(spec, field(notes, "sha256", (str, type(None)), where), folder)
    base = load_encoder(encoder)
    if digest(base.fingerprint) != notes["base"]:
        raise ValueError(
            f"{str(folder)!r} was fitted to {notes['name']!r} with other weights, architecture or preprocessing than "
            f"{base.name!r} has now; give the encoder that it was fitted to."
        )
    saved = read_checkpoint(folder / _WEIGHTS)
    if digest(saved) != notes["map"]:
        raise ValueError(f"the files in {str(folder)!r} do not belong together; save the encoder again.")
    own = encoder if isinstance(encoder, str) else None
    return PCAEncoder(base, saved["mean"], saved["components"], saved["variance"], spec=own)
