"""Spoken digits from five examples each, by people whose voice was not among them.

    python benchmarks/spoken_digits.py draws --data ../shared/data   # 5 examples, intervals over draws
    python benchmarks/spoken_digits.py whole --data ../shared/data   # all recordings

Free Spoken Digit Dataset: 10 digits, 6 speakers. `audio`: 600 recordings as sound, which `AudioSource` makes into
pictures (8 kHz, windows of 32 ms). `log-mel`: 3,000 as the pictures [40, 32] that the file holds. Each speaker in turn
is asked about; examples come from the other five. Adapters see unlabelled recordings of the speaker who is asked about.
"Voices centred" subtracts from each row the mean of its speaker's rows: it needs to know who speaks, but no label.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes import (
    AudioSource,
    CrossDomainSampler,
    Episode,
    EpisodeSampler,
    ImageSource,
    LogMel,
    TensorSource,
    compare,
    evaluate,
)
from fewshot import embed, load_learner

LEARNERS = [
    "nearest", "prototypes", "l2 | prototypes", "logistic", "domain-centre | prototypes", "domain-centre | logistic",
    "coral | logistic", "optimal-transport | logistic",
]  # fmt: skip
WHOLE = ["logistic", "domain-centre | logistic", "coral | logistic"]


def audio(data: Path, columns: int = 64) -> tuple[AudioSource, Tensor]:
    """The 600 recordings, and who speaks."""
    with np.load(data / "transfer" / "spoken_digits" / "fsdd_audio_600.npz") as file:
        key = next(name for name in file.files if name != "meta")
        samples, meta = file[key], file["meta"]  # meta: digit, speaker, take, length
    ends = meta[:, 3].cumsum()
    takes = np.split(samples, ends[:-1])
    mel = LogMel(rate=8000, window=256, hop=64, bands=40, columns=columns)
    return AudioSource(takes, meta[:, 0], rate=8000, mel=mel, name="audio"), torch.from_numpy(meta[:, 1].astype(int))


def log_mel(data: Path) -> tuple[ImageSource, Tensor]:
    """The 3,000 pictures, and who speaks."""
    with np.load(data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        pictures, labels, speaker = file["X"], file["y"], file["speaker"]
    source = ImageSource(list(pictures), labels.astype(int), name="log-mel")
    return source, torch.from_numpy(speaker.astype(np.int64))


SETS = {"audio": audio, "log-mel": log_mel}


def features(name: str, source: Any, speaker: Tensor, held_out: int, options: argparse.Namespace) -> Tensor:
    """Rows ``[M, D]`` by an encoder, centred in each column by the recordings of the other speakers."""
    weights = options.data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    encoders = {
        "pixels": "pixels(size=40, grey=True)", "PCA-100": "pixels(size=40, grey=True)",
        "MobileNetV2": f"timm:mobilenetv2_100@{weights.resolve()}(pad_type='same', mean=0.5, std=0.5)",
    }  # fmt: skip
    rows = embed(source, encoders[name], cache=options.cache, progress=False).features.double()
    rows = rows - rows[speaker != held_out].mean(0)
    if name == "PCA-100":  # directions of the other speakers, without their labels
        directions = torch.linalg.svd(rows[speaker != held_out], full_matrices=False).Vh[:100]
        rows = rows @ directions.T
    return rows.float()


def voices_centred(rows: Tensor, speaker: Tensor) -> Tensor:
    """Each row less the mean of its speaker's rows."""
    means = torch.stack([rows[speaker == voice].mean(0) for voice in range(int(speaker.max()) + 1)])
    return rows - means[speaker]


def draws(options: argparse.Namespace) -> None:
    """Episodes of five examples a digit: mean over speakers, interval over episodes."""
    for title in options.sets:
        source, speaker = SETS[title](options.data)
        each = int((source.labels[speaker == 0] == 0).sum())  # recordings of a digit by a speaker
        half = each // 2
        for encoder in options.encoders:
            found: dict[str, list[Any]] = {}
            for voice in range(int(speaker.max()) + 1):
                rows = features(encoder, source, speaker, voice, options)
                for centred in ("", "voices centred, "):
                    table = voices_centred(rows, speaker) if centred else rows
                    name = f"{title}, {encoder}, {centred}speaker {voice}"
                    given = TensorSource(table, source.labels, name=name)
                    sampler = CrossDomainSampler(
                        source.labels, (speaker == voice).long(), way=10, shot=options.shot, query=min(15, half),
                        unlabelled=min(15, each - half), name=name,
                    )  # fmt: skip
                    methods = [learner for learner in options.learners if not (centred and "|" in learner[3:])]
                    results = evaluate(methods, given, sampler, episodes=options.draws, out=options.out, progress=False)
                    for learner in methods:
                        found.setdefault(centred + learner, []).append(results[learner])
                same = TensorSource(rows[speaker == voice], source.labels[speaker == voice], name=f"{name}, own voice")
                sampler = EpisodeSampler(same.labels, way=10, shot=min(options.shot, half), query=min(15, half))
                results = evaluate(["logistic"], same, sampler, episodes=options.draws, out=options.out, progress=False)
                found.setdefault("own voice, logistic", []).append(results["logistic"])
            print(f"\n{title}, {encoder}: {options.shot} examples a digit; accuracy in %, mean of {voice + 1} speakers")
            for method, results in found.items():
                means = 100 * np.array([result.mean for result in results])
                spread = 100 * np.array([np.asarray(result.scores).std(ddof=1) for result in results])
                half_width = 1.96 * np.sqrt((spread**2).mean() / options.draws / len(means))
                line = (
                    f"  {method:42s} {means.mean():5.1f} ± {half_width:.1f}  ({means.min():.1f} .. {means.max():.1f})"
                )
                plain = method.rpartition(" | ")[2].removeprefix("voices centred, ")
                if method != plain and plain in found and not method.startswith("own"):
                    pairs = zip(results, found[plain], strict=True)
                    better = sum(a.mean > b.mean for a, b in pairs)
                    gain = means.mean() - 100 * np.mean([result.mean for result in found[plain]])
                    line += f"  {gain:+.1f} against {plain}, better for {better} of {len(means)}"
                    if method.startswith("domain"):
                        tested = [compare(a, b).p for a, b in zip(results, found[plain], strict=True)]
                        line += f", p < .05 for {sum(p < 0.05 for p in tested)}"
                print(line, flush=True)


def whole(options: argparse.Namespace) -> None:
    """All recordings of five speakers are learned from, and all of the sixth classified."""
    for title in options.sets:
        source, speaker = SETS[title](options.data)
        for encoder in options.encoders:
            scores: dict[str, list[float]] = {}
            for voice in range(int(speaker.max()) + 1):
                rows = features(encoder, source, speaker, voice, options)
                known, asked = speaker != voice, speaker == voice
                for centred in ("", "voices centred, "):
                    table = voices_centred(rows, speaker) if centred else rows
                    for learner in (
                        ["logistic"] if centred else ["logistic", "domain-centre | logistic", "coral | logistic"]
                    ):
                        with torch.no_grad():
                            episode = Episode(
                                table[known][None], source.labels[known][None], table[asked][None], way=10
                            )
                            guess = load_learner(learner)(episode)[0].argmax(-1)
                        right = (guess == source.labels[asked]).double().mean()
                        scores.setdefault(centred + learner, []).append(100 * float(right))
            print(f"\n{title}, {encoder}: all recordings of five speakers; accuracy in % on the sixth, mean (each)")
            for method, found in scores.items():
                print(
                    f"  {method:42s} {np.mean(found):5.1f}  ({' '.join(f'{value:.0f}' for value in found)})", flush=True
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["draws", "whole"])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--encoders", nargs="+", default=["pixels", "PCA-100", "MobileNetV2"])
    parser.add_argument("--learners", nargs="+", default=LEARNERS)
    parser.add_argument("--out", default="spoken_digits.jsonl", help="results of `draws`, resumed from")
    parser.add_argument("--cache", default=None, help="embedding cache")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--shot", type=int, default=5)
    options = parser.parse_args()
    {"draws": draws, "whole": whole}[options.protocol](options)


if __name__ == "__main__":
    main()
