"""`embed` on all processors with a batch for each, and with one batch at a time on all: seconds, alternating.

    python benchmarks/lanes.py tuned sounds

``tuned`` is a ResNet-18 as `fewshot.fine_tune` returns it, in float32, on 128 photographs of ImageNet; ``sounds`` a
wav2vec 2.0 of six layers on 32 recordings of noise, of one to three seconds. Weights are random. Features must be those
of one thread, bit by bit.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from runtimes import SHARED

from episodes import AudioSource
from episodes.device import processors
from fewshot import embed, load_encoder
from fewshot.embedding import filling
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.transfer.heads import linear
from fewshot.transfer.tuned_encoder import TunedEncoder

LANES = filling.has_lanes


def tuned(folder: Path) -> tuple[Any, Any]:
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    head = linear(torch.zeros(2, 512), torch.zeros(2))
    encoder = ModuleEncoder(network, Preprocess(224, 256))
    files = sorted((SHARED / "imagenet_samples" / "short256").glob("*.jpg"))[:128]
    return files, TunedEncoder(encoder, head, ["a", "b"], base="", changed=[], strategy="full")


def sounds(folder: Path) -> tuple[Any, Any]:
    import transformers

    config = transformers.Wav2Vec2Config(
        num_hidden_layers=6, hidden_size=384, num_attention_heads=6, intermediate_size=1536, conv_dim=(256,) * 7,
        feat_extract_norm="layer", do_stable_layer_norm=True,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    generator = np.random.default_rng(0)
    lengths = generator.integers(16_000, 48_000, 32)
    waves = [generator.standard_normal(int(length)).astype(np.float32) for length in lengths]
    return AudioSource(waves, [0] * len(waves), rate=16_000), load_encoder(f"transformers:{folder}")


def compare(name: str, data: Any, encoder: Any, rounds: int) -> None:
    times: dict[str, list[float]] = {"lanes": [], "without": []}
    rows = {}

    def run(way: str, threads: int) -> None:
        torch.set_num_threads(threads)
        filling.has_lanes = LANES if way == "lanes" else lambda *given: False
        rows[way] = embed(data, encoder, cache=False, device="cpu", runtime="torch", precision="float32", batch_size=4,
                          storage="float32", progress=False).features  # fmt: skip

    run("without", 1)
    single = rows["without"]
    for _ in range(rounds):
        for way, found in times.items():
            started = time.perf_counter()
            run(way, processors())
            found.append(time.perf_counter() - started)
    ratios = [other / mine for mine, other in zip(times["lanes"], times["without"], strict=True)]
    lanes, without = (statistics.median(found) for found in times.values())
    same = "the same bits as" if torch.equal(rows["lanes"], single) else "OTHER bits than"
    print(f"{name}: {lanes:.1f} s with a batch for each of {processors()} processors, {without:.1f} s with one, "
          f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}); "
          f"{same} one thread")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    kinds = {"tuned": tuned, "sounds": sounds}
    parser.add_argument("kinds", nargs="+", choices=kinds)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            compare(kind, *kinds[kind](Path(folder)), options.rounds)


if __name__ == "__main__":
    main()
