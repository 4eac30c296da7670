"""Speech models of transformers as encoders of sounds: wav2vec 2.0, HuBERT, data2vec-audio and their kin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import describe_architecture, digest_weights
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import evaluation_mode

SPEECH = ("data2vec-audio", "hubert", "sew", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm")
_MASKED = ("hubert", "wav2vec2")  # which compute the same of a recording in a padded batch, if their norms allow it


class SpeechEncoder(Encoder):
    """``transformers:NAME`` or ``transformers:FOLDER`` of a speech model: the mean of its hidden states over time.

    Each recording is brought to zero mean and unit variance where the model was trained so. Its features do not depend
    on the other recordings of a batch: those of unequal length are padded and masked only for models that compute the
    same then; the first layer of others (wav2vec2-base, hubert-base) normalises over time, padding included, so that
    they get batches of equal length.

    Args:
        model: the folder or hub name, as given.
        where: what transformers is given.
        layer: number of the hidden state taken, 0 (before the transformer) to the number of layers, or negative from
            the end; None: the last. Those in the middle often say more of speaker and sound than the last.

    Raises:
        ValueError: an unknown layer, or a folder that holds no such model.

    Reference: Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0: a framework for self-supervised learning of speech
    representations", NeurIPS 2020; Hsu et al., "HuBERT: self-supervised speech representation learning by masked
    prediction of hidden units", IEEE/ACM TASLP 2021; Baevski et al., "data2vec: a general framework for self-supervised
    learning in speech, vision and language", ICML 2022.
    """

    module: nn.Module
    copyable = True

    def __init__(self, model: str, where: str, *, layer: int | None = None) -> None:
        import transformers

        safe: dict[str, Any] = {"trust_remote_code": False}
        try:
            extractor: Any = transformers.AutoFeatureExtractor.from_pretrained(where, **safe)
            self.module = transformers.AutoModel.from_pretrained(where, use_safetensors=True, **safe)
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()
            raise ValueError(
                f"'transformers:{model}' holds no speech model that can be read ({first[0] if first else error}). It "
                "needs config.json, model.safetensors and preprocessor_config.json, as save_pretrained writes them."
            ) from error
        self.module.eval()
        config: Any = self.module.config
        layers = int(config.num_hidden_layers)
        if layer is not None and not -layers - 1 <= layer <= layers:
            raise ValueError(f"layer={layer}; 'transformers:{model}' has hidden states 0..{layers}.")
        self.layer = layer
        self.name, self.dim = f"transformers:{model}", int(config.hidden_size)
        self.rate, self.normalize = int(extractor.sampling_rate), bool(extractor.do_normalize)
        self.shortest = _shortest(config.conv_kernel, config.conv_stride)
        self._masks = (
            config.model_type in _MASKED
            and getattr(config, "feat_extract_norm", "") == "layer"
            and not getattr(config, "conv_pos_batch_norm", False)
            and not getattr(config, "add_adapter", False)
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Network, weights, rate, normalisation and layer, by value."""
        return {
            "family": "transformers-speech",
            "architecture": describe_architecture(self.module),
            "weights": digest_weights(self.module),
            "rate": self.rate,
            "normalize": self.normalize,
            "layer": self.layer,
        }

    def encode_sounds(self, sounds: Sequence[Tensor]) -> Tensor:
        """Features of recordings ``[n]`` at `rate`: ``[B, D]``."""
        waves = [self._normalised(wave.to(self.device)) for wave in sounds]
        if self._masks:
            return self._encode(waves)
        groups: dict[int, list[int]] = defaultdict(list)
        for place, wave in enumerate(waves):
            groups[len(wave)].append(place)
        rows = [self._encode([waves[place] for place in group]) for group in groups.values()]
        order = torch.tensor([place for group in groups.values() for place in group], device=self.device)
        return torch.cat(rows)[order.argsort()]  # [B, D]

    def _normalised(self, wave: Tensor) -> Tensor:
        if not self.normalize:
            return wave
        return (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()

    def _encode(self, waves: list[Tensor]) -> Tensor:
        """Features of recordings ``[B, D]``, which must be of one length where the model has no use for a mask."""
        batch = nn.utils.rnn.pad_sequence(waves, batch_first=True)  # [B, n]
        lengths = torch.tensor([len(wave) for wave in waves], device=batch.device)
        given: dict[str, Any] = {"output_hidden_states": self.layer is not None}
        if bool((lengths < batch.shape[1]).any()):
            given["attention_mask"] = (torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]).long()
        with evaluation_mode(self.module):
            found = self.module(batch.to(next(self.module.parameters()).dtype), **given)
        states: Tensor = found.last_hidden_state if self.layer is None else found.hidden_states[self.layer]  # [B, T, D]
        if "attention_mask" not in given:
            return states.mean(1)
        network: Any = self.module
        mask = network._get_feature_vector_attention_mask(states.shape[1], given["attention_mask"])  # [B, T]
        weights = mask.to(states.dtype).unsqueeze(-1)
        return (states * weights).sum(1) / weights.sum(1)


def _shortest(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples of which the convolutions make one frame.

    >>> _shortest((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    400
    """
    samples = 1
    for kernel, stride in reversed(list(zip(kernels, strides, strict=True))):
        samples = (samples - 1) * stride + kernel
    return samples
