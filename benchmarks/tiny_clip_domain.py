"""What the bundled image-text model knows, and what it should not be asked about.

    python benchmarks/tiny_clip_domain.py --data ../shared/data              # how many of each kind are found out
    python benchmarks/tiny_clip_domain.py --data ../shared/data --write      # and write domain.safetensors anew

Mean and covariance of 2,400 drawn scenes' features, the limit from 1,200 others (seed 11); scored on scenes of
another seed, noise, plain colours, photographs, digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from episodes import load_dataset
from fewshot import embed, load_encoder
from fewshot.encoders.bundled import FOLDER
from fewshot.encoders.domain import fit_domain, save_domain

KINDS = ("shape", "colour", "background", "size", "texture", "position")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    encoder = load_encoder(f"open_clip:local-dir:{FOLDER / 'tiny-clip'}")  # the same, before it has a domain

    def features(items: Any) -> Tensor:
        return embed(items, encoder, cache=False, progress=False).features.float()

    def scenes(seed: int) -> list[Tensor]:
        sources = [load_dataset(f"scenes:{kind}", count=600, seed=seed) for kind in KINDS]
        return [features(list(source.features.permute(0, 2, 3, 1).numpy())) for source in sources]

    known = scenes(11)
    domain = fit_domain(torch.cat([part[:400] for part in known]), torch.cat([part[400:] for part in known]))
    if options.write:
        save_domain(domain, FOLDER / "tiny-clip")
    random = np.random.default_rng(0)
    pictures: dict[str, Any] = {
        "noise": [Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(200)],
        "plain colours": [Image.new("RGB", (64, 64), tuple(random.integers(0, 256, 3).tolist())) for _ in range(200)],
        "cats and dogs": sorted((options.data / "transfer" / "cats_dogs" / "test").rglob("*.jpg")),
        "garments": sorted((options.data / "clothing_small_224" / "test").rglob("*.jpg")),
        "digits": load_dataset("digits:images").features[:500],
    }
    print(f"scenes of another seed: {100 * float(domain.outside(torch.cat(scenes(12))).double().mean()):.1f} % outside")
    for name, items in pictures.items():
        print(f"{name} ({len(items)}): {100 * float(domain.outside(features(items)).double().mean()):.1f} % outside")


if __name__ == "__main__":
    main()
