"""`embed` against an eager loop in batches of 8, on photographs and on texts, alternating in one run.

    python benchmarks/runtimes.py mobilenetv2 resnet18 vit-s minilm --processors 1 --peers
    python benchmarks/runtimes.py mobilenetv2 --megapixels 12 --items 16 --processors 1
    python benchmarks/runtimes.py resnet18 --processors 1 --exports

Each way decodes (or tokenises) and computes everything anew; the graph for ONNX Runtime is exported before, and what
that took is printed. ``auto`` finds that graph in the cache folder. ``--peers`` adds timm's transform in a DataLoader
with batches of 32; `SentenceTransformer.encode` as it is called by default, and fastembed with the same weights.
``--megapixels`` enlarges the photographs first. Cosines are to the rows of the loop, which is float32: the worst of all
rows. MobileNetV2 and MiniLM have their real weights; those of the others are random, which changes nothing about their
cost.

``--exports`` instead prints what ``runtime="auto"`` has to guess (`fewshot.runtimes.choosing`): how long an export
takes in a fresh process, and which share of torch's time it then saves on the control items, in float32.

On a machine that others use, ratios of processor time say more than those of the clock; both are printed. They count
processes that a DataLoader starts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

from episodes.device import processors
from fewshot import EmbeddingCache, embed, load_encoder
from fewshot.embedding.canary import control_items
from fewshot.embedding.settings import Settings
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.runtimes.network import Network
from fewshot.runtimes.onnx_export import converted
from fewshot.runtimes.onnx_runtime import onnx_computation

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RANDOM = {"resnet18": "resnet18", "vit-s": "vit_small_patch16_224"}


def encoder_of(name: str, weights: Path) -> Any:
    if name == "minilm":
        return load_encoder("text:minilm")
    if name == "mobilenetv2":
        return load_encoder(f"timm:mobilenetv2_100(checkpoint={str(weights)!r}, pad_type='same', mean=0.5, std=0.5)")
    torch.manual_seed(0)
    module = timm.create_model(RANDOM[name], pretrained=False, num_classes=0).eval()
    transform = Preprocess(224, 256, timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    return ModuleEncoder(module, transform, name=RANDOM[name])


def loop(items: list[Any], encoder: Any) -> torch.Tensor:
    """What one writes oneself."""
    rows = []
    with torch.inference_mode():
        for first in range(0, len(items), 8):
            part = items[first : first + 8]
            if isinstance(part[0], str):
                rows.append(encoder.encode_texts(part))
                continue
            pictures = []
            for path in part:
                with Image.open(path) as image:
                    pictures.append(encoder.transform(image.convert("RGB")))
            rows.append(encoder.encode_images(torch.stack(pictures)))
    return torch.cat(rows)


def enlarged(files: list[Path], megapixels: float, folder: Path) -> list[Path]:
    """The photographs as JPEGs of so many pixels."""
    made = []
    for file in files:
        with Image.open(file) as image:
            factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
            size = (round(image.width * factor), round(image.height * factor))
            made.append(folder / file.name)
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(made[-1], quality=90)
    return made


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """Files under a transform, as a loop of one's own has them."""

    def __init__(self, files: list[Path], transform: Any) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.files[row]) as image:
            return self.transform(image.convert("RGB"))  # type: ignore[no-any-return]


class Tokens(torch.nn.Module):
    """A transformer's features of each token, as fastembed expects them of a graph."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> Any:
        """Features ``[B, T, D]`` of tokens ``[B, T]``."""
        return self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


def fastembed_of(encoder: Any, folder: Path) -> Any:
    """What fastembed makes of MiniLM, with the weights of the encoder, as no hub is asked."""
    from fastembed import TextEmbedding

    first = encoder.module[0]
    first.tokenizer.save_pretrained(folder)
    first.auto_model.config.save_pretrained(folder)
    tokens = encoder.tokens(["one", "two words, or is it three"])
    names = ["input_ids", "attention_mask", "token_type_ids"]
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    graph = converted(
        Tokens(first.auto_model).eval(), tuple(tokens[name] for name in names), inputs=names, outputs=["states"],
        dynamic=[sizes] * 3, opset=18, part="its network",
    )  # fmt: skip
    (folder / "model.onnx").write_bytes(graph)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    return TextEmbedding(name, specific_model_path=str(folder), threads=processors(), cuda=False)


def peers(items: list[Any], encoder: Any, folder: Path) -> dict[str, Callable[[], torch.Tensor]]:
    """What users of other libraries write, by their names."""
    if isinstance(items[0], str):
        model, other = encoder.module, fastembed_of(encoder, folder)
        return {
            "encode": lambda: model.encode(items, convert_to_tensor=True, show_progress_bar=False),
            "fastembed": lambda: torch.from_numpy(np.stack(list(other.embed(items)))),
        }
    how = encoder.transform
    usual = timm.data.create_transform(
        (3, how.size, how.size), crop_pct=how.size / how.resize, mean=how.mean, std=how.std,
        interpolation=how.interpolation,
    )  # fmt: skip

    def load() -> torch.Tensor:
        workers = max(0, processors() - 1)
        loader = torch.utils.data.DataLoader(Pictures(items, usual), 32, num_workers=workers)
        with torch.inference_mode():
            return torch.cat([encoder.encode_images(batch) for batch in loader])

    return {"timm": load}


def spent() -> tuple[float, float]:
    """The clock, and processor seconds of this process and of those it started and has seen the end of."""
    times = os.times()
    return time.perf_counter(), time.process_time() + times.children_user + times.children_system


def compare(name: str, items: list[Any], encoder: Any, options: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(folder)

        def by(runtime: str) -> Any:
            for info in cache.ls():
                cache.rm(info.id)
            return embed(
                items, encoder, cache=cache, runtime=runtime, workers=options.workers, device="cpu", progress=False
            )

        started = time.perf_counter()
        first = embed(items[:8], encoder, cache=cache, runtime="onnx", device="cpu", progress=False)
        prepared = time.perf_counter() - started
        found: dict[str, Any] = {}
        ways: dict[str, Callable[[], Any]] = {"loop": lambda: loop(items, encoder)}
        if options.peers:
            ways.update(peers(items, encoder, Path(folder)))
        ways.update({runtime: lambda runtime=runtime: by(runtime) for runtime in options.runtimes})  # type: ignore[misc]
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        loop(items[:8], encoder)
        for _ in range(options.rounds):
            for way, action in ways.items():
                before = spent()
                found[way] = action()
                times[way].append(tuple(now - then for now, then in zip(spent(), before, strict=True)))  # type: ignore[arg-type]
        size = sum(info.bytes for info in cache.exports.ls()) / 1e6
    rounds = f"medians of {options.rounds} alternating rounds"
    print(f"{name}: {len(items)} items, {processors()} processors, {options.workers} decoding threads, {rounds}")
    print(f"  export, reading and comparing the graph ({first.report['runtime']}): {prepared:.1f} s, {size:.0f} MB")
    for way, seconds in times.items():
        clock, used = (1000 * statistics.median(pair[kind] for pair in seconds) / len(items) for kind in (0, 1))
        line = f"  {way:9} {clock:7.1f} ms an item, {used:7.1f} of processor time"
        if way != "loop":
            pairs = [[own[kind] / other[kind] for own, other in zip(times["loop"], seconds, strict=True)]
                     for kind in (0, 1)]  # fmt: skip
            line += "; times the loop" + ",".join(
                f" {statistics.median(some):.2f} ({min(some):.2f} to {max(some):.2f})" for some in pairs
            )
            rows = found[way] if isinstance(found[way], torch.Tensor) else found[way].features
            cosine = torch.cosine_similarity(rows.double(), found["loop"].double()).min()
            if way in options.runtimes:
                report = found[way].report
                line += f"; {report['runtime']}, {report['precision']}, batches of {report['batch_size']}"
            line += f"; worst cosine {float(cosine):.6f}"
        print(line, flush=True)


def exports(name: str, encoder: Any, rounds: int) -> None:
    """Time of one export, and of the forward passes that it may replace."""
    kind = "texts" if name == "minilm" else "images"
    torchs = Settings(device="cpu", precision="float32").forward(encoder)
    items: Any = control_items(kind, encoder)
    with tempfile.TemporaryDirectory() as folder:
        before = spent()
        found = onnx_computation(torchs, kind, items, "benchmark", EmbeddingCache(folder).exports)
        took = [now - then for now, then in zip(spent(), before, strict=True)]
    onnx = torchs.like(network=Network(encoder, kind, found))
    times: list[list[float]] = []
    for number in range(rounds + 1):
        row = []
        for forward in (torchs, onnx):
            before = spent()
            forward(items)
            row.append(spent()[1] - before[1])
        times += [row] if number else []
    mine, other = (1000 * statistics.median(row[place] for row in times) / len(items) for place in (0, 1))
    saved = [1 - row[1] / row[0] for row in times]
    print(
        f"{name}: exported, read and compared in {took[0]:.1f} s, {took[1]:.1f} of processor time; then {other:.1f} ms "
        f"a control item where torch takes {mine:.1f}: {statistics.median(saved):.2f} saved ({min(saved):.2f} to "
        f"{max(saved):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=["mobilenetv2", *RANDOM, "minilm"])
    parser.add_argument("--photographs", type=Path, default=SHARED / "imagenet_samples" / "short256")
    weights = SHARED / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    parser.add_argument("--weights", type=Path, default=weights, help="of MobileNetV2")
    parser.add_argument("--texts", type=Path, default=SHARED / "text" / "banking77" / "banking_data" / "test.csv")
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtimes", nargs="+", default=["torch", "onnx", "auto"])
    parser.add_argument("--processors", type=int, help="use so many only")
    parser.add_argument("--threads", type=int, help="of torch; by default one per processor")
    parser.add_argument("--workers", default="auto", type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--peers", action="store_true", help="also what users of timm or sentence-transformers write")
    parser.add_argument("--exports", action="store_true", help="time exports instead, one network a process")
    parser.add_argument("--megapixels", type=float, help="enlarge the photographs first")
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.processors :])
        torch.set_num_threads(options.processors)
    if options.threads:
        torch.set_num_threads(options.threads)
    photographs = sorted(options.photographs.glob("*.jpg"))[: options.items]
    folder = tempfile.TemporaryDirectory()
    if options.megapixels:
        photographs = enlarged(photographs, options.megapixels, Path(folder.name))
    for name in options.networks:
        if options.exports:
            exports(name, encoder_of(name, options.weights), 4 * options.rounds)
            continue
        items: list[Any] = photographs
        if name == "minilm":
            items = [line.rpartition(",")[0] for line in options.texts.read_text(encoding="utf-8").splitlines()[1:]]
            items = sorted(set(items))[: options.items]
        compare(name, items, encoder_of(name, options.weights), options)
    folder.cleanup()


if __name__ == "__main__":
    main()
