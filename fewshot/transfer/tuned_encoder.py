"""`TunedEncoder`: what fine-tuning gives, and saving it as the difference to the encoder that it began with."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.files import write_atomically
from episodes.identity import digest, digest_weights
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.heads import Head, linear
from fewshot.transfer.tuning_plan import TuningPlan

_FORMAT = 1


class TunedEncoder(Encoder):
    """A fine-tuned copy of an encoder, with the head that it was tuned with.

    It is an encoder like any other: `fewshot.embed`, `episodes.evaluate` and `FewShotClassifier` take it. Its identity
    is that of its weights.

    Args:
        encoder: the tuned copy.
        head: linear, features -> classes; of class texts (`Head.unit`), features at length one.
        class_names: of the head's classes.
        base: digest of the identity of the encoder that it began with.
        changed: names of the tensors of its network that differ from that encoder's.
        strategy: as written.
        plan: what was trained; None where it was read from a file.
        history: reports of the training, one list per phase.
        setting: what was seen, one of `episodes.SETTINGS`.
    """

    rows: frozenset[str] = frozenset()  # digests of what it was tuned on, where a folder says so

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        class_names: Sequence[str],
        *,
        base: str,
        changed: Sequence[str],
        strategy: str,
        plan: TuningPlan | None = None,
        history: Sequence[list[dict[str, Any]]] = (),
        setting: str = "inductive",
    ) -> None:
        self.encoder, self.head, self.class_names = encoder, head, list(class_names)
        self.base, self.changed, self.strategy = base, sorted(changed), strategy
        self.plan, self.history, self.setting = plan, list(history), setting
        self.module, self.transform = encoder.module, encoder.transform
        self.logit_scale, self.decoding = encoder.logit_scale, encoder.decoding
        self.name = f"{encoder.name}, {strategy}"

    @property
    def computed_by(self) -> Encoder:
        """The tuned copy, unless something else was put in its place."""
        changed = type(self) is not TunedEncoder or any(name.startswith("encode_") for name in vars(self))
        return self if changed else self.encoder.computed_by

    @property
    def dim(self) -> int | None:  # type: ignore[override]
        """Features D of a row."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> dict[str, Any]:
        """That of the encoder with its tuned weights; where none changed, the untuned encoder's."""
        return self.encoder.fingerprint

    def encodes(self, kind: str) -> bool:
        """Whether it has a tower for rows of this kind."""
        return self.encoder.encodes(kind)

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of transformed images ``[B, 3, H, W] -> [B, D]``."""
        return self.encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``."""
        return self.encoder.encode_texts(texts)

    def to(self, device: torch.device | str) -> TunedEncoder:
        """Move network and head to a device, in place."""
        self.encoder.to(device)
        self.head.to(device)
        return self

    def logits(self, dataset: Any, **options: Any) -> Tensor:
        """The head's logits of every item of a dataset ``[M, C]``.

        Args:
            dataset: whatever `fewshot.embed` takes.
            options: of `fewshot.embed`, such as ``cache=False``.
        """
        from fewshot.embedding import embed

        rows = embed(dataset, self, **{"storage": "float32", "progress": False, **options})
        with torch.no_grad():
            scores: Tensor = self.head(rows.features.to(self.head.weight.device).float())
        return scores

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what differs from the encoder before tuning: ``delta.safetensors``, then ``tuned.json``.

        Read it with ``load_tuned(folder, encoder)``.
        """
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {} if self.module is None else self.module.state_dict()
        tensors = {f"network.{name}": state[name] for name in self.changed}
        tensors |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
        kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_atomically(folder / "delta.safetensors", save(kept))
        notes = {
            "format": _FORMAT, "base": self.base, "name": self.encoder.name, "strategy": self.strategy,
            "class_names": self.class_names, "changed": self.changed, "weights": self._digest(),
            "setting": self.setting,
            "unit": self.head.unit,
        }  # fmt: skip
        write_atomically(folder / "tuned.json", json.dumps(notes, indent=1).encode())
        return folder

    def _digest(self) -> str:
        own = nn.ModuleList([part for part in (self.module, self.head) if part is not None])
        return digest_weights(own)


def load_tuned(folder: str | os.PathLike[str], encoder: str | Encoder) -> TunedEncoder:
    """Read what `TunedEncoder.save` wrote.

    Args:
        folder: that it was given.
        encoder: the encoder before tuning: a spec string or an `Encoder`; it is copied.

    Raises:
        FileNotFoundError: nothing was saved there.
        ValueError: another encoder, or files that do not belong together.
    """
    from fewshot.encoders import load_encoder
    from fewshot.encoders.checkpoint import read_checkpoint
    from fewshot.transfer.copying import copied

    folder = Path(folder)
    notes_file = folder / "tuned.json"
    if not notes_file.is_file():
        raise FileNotFoundError(f"there is no {str(notes_file)!r}; give the folder that TunedEncoder.save wrote.")
    notes = json.loads(notes_file.read_text(encoding="utf-8"))
    if notes.get("format") != _FORMAT:
        raise ValueError(f"{str(notes_file)!r} has format {notes.get('format')!r}; this release reads {_FORMAT}.")
    given = load_encoder(encoder)
    if digest(given.fingerprint) != notes["base"]:
        raise ValueError(
            f"{str(folder)!r} was tuned from {notes['name']!r} with other weights, architecture or preprocessing than "
            f"{given.name!r} has now; give the encoder that it began with."
        )
    saved = read_checkpoint(folder / "delta.safetensors")
    own = copied(given)
    head = linear(saved["head.weight"], saved["head.bias"])
    head.unit = bool(notes.get("unit", False))  # files of releases without such heads do not say
    if own.module is not None:
        state = own.module.state_dict()
        own.module.load_state_dict(state | {name: saved[f"network.{name}"] for name in notes["changed"]})
    tuned = TunedEncoder(own, head.to(own.device), notes["class_names"], base=notes["base"], changed=notes["changed"],
                         strategy=notes["strategy"], setting=notes.get("setting", "inductive"))  # fmt: skip
    if tuned._digest() != notes["weights"]:
        raise ValueError(f"the files in {str(folder)!r} do not belong together; save the encoder again.")
    return tuned
