"""Train the tiny CLIP that the library carries (`fewshot:tiny-clip`) on drawn scenes and made-up captions.

    python benchmarks/train_tiny_clip.py --out work/tiny-clip            # about 40 minutes of one core
    python benchmarks/train_tiny_clip.py --out work/tiny-clip --install  # the same, then into the package

Killed, it resumes (a step is a function of the seed and its number). A caption names some attributes
of a scene; it is a positive for every scene of the batch of which all of them are true. Twenty of the hundred
colour-shape pairs are never drawn, and the prompts of `HELD_OUT` are never written.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from episodes.datasets.scene_drawing import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, TEXTURES, draw_scenes
from episodes.datasets.scenes import PAIRS, attributes, held_out

MERGES, PIXELS, IMAGES, CAPTIONS, POOL = 4096, 64, 256, 96, 60_000
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": PIXELS, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"context_length": 24, "vocab_size": MERGES + 514, "width": 128, "heads": 4, "layers": 2,
                     "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"}},
    },
    "preprocess_cfg": {"size": PIXELS, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic",
                       "resize_mode": "squash"},
}  # fmt: skip

SYNONYMS = {
    "circle": ("circle", "circle", "disc", "round shape"), "square": ("square", "square", "box"),
    "triangle": ("triangle",), "star": ("star", "star", "five-pointed star"), "cross": ("cross", "cross", "plus sign"),
    "ring": ("ring", "ring", "doughnut"), "diamond": ("diamond", "diamond", "rhombus"), "hexagon": ("hexagon",),
    "heart": ("heart",), "moon": ("moon", "moon", "crescent"), "purple": ("purple", "violet"),
    "turquoise": ("turquoise", "cyan"), "plain": ("plain", "plain", "solid", "uniform"),
    "striped": ("striped", "striped", "stripy"), "dotted": ("dotted", "dotted", "spotted"),
    "checkered": ("checkered", "checkered", "chequered"), "small": ("small", "small", "tiny", "little"),
    "large": ("large", "large", "big", "huge"),
}  # fmt: skip
WHOLE = (
    "{}", "{}", "a photo of {}", "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "this is {}",
    "there is {}", "{} in the picture", "a scene with {}", "we see {}", "an illustration showing {}",
)  # fmt: skip
HELD_OUT = ("itap of {}.", "a rendering of {}.", "{} in a video game.", "a close-up of {}.", "a sketch of {}.",
            "look at {}!", "one can make out {} here.", "a snapshot of {}.")  # fmt: skip
SINGLE = {
    "shape": ("{}", "the shape is a {}", "an object in the shape of a {}", "shape: {}", "it is a {}"),
    "colour": ("{}", "the object is {}", "the shape is {}", "a {} object", "a {} thing",
               "the colour of the object is {}", "{} in colour", "an object coloured {}", "colour: {}"),
    "background": ("the background is {}", "a {} background", "on a {} background", "background colour {}",
                   "in front of a {} backdrop", "an object on a {} background", "{} behind the object",
                   "the colour of the background is {}", "a {} backdrop"),
    "texture": ("{}", "the texture is {}", "a {} object", "a {} texture", "a {} pattern", "the surface is {}",
                "something {}", "an object with a {} surface", "texture: {}"),
    "size": ("{}", "a {} object", "the object is {}", "a {} thing", "of {} size", "the size is {}", "size: {}"),
    "position": ("the object is {}", "an object {}", "something {} of the picture", "a shape {}", "{}", "located {}",
                 "position: {}"),
}  # fmt: skip
NOUNS = ("object", "shape", "thing", "figure")


def where(name: str, pick: np.random.Generator) -> str:
    if name in ("left", "right"):
        return str(pick.choice([f"on the {name}", f"at the {name}", f"on the {name} side", name]))
    if name in ("top", "bottom"):
        return str(pick.choice([f"at the {name}", f"in the {name}", f"near the {name}", name]))
    return str(pick.choice(["in the centre", "in the middle", "at the centre", "centre", "center"]))


def caption(scene: np.ndarray, pick: np.random.Generator) -> tuple[str, list[int]]:
    """A sentence about a scene, and which of its six attributes it names."""
    names = [SHAPES[scene[0]], COLOURS[scene[1]], BACKGROUNDS[scene[2]], TEXTURES[scene[3]], SIZES[scene[4]]]
    names = [str(pick.choice(SYNONYMS.get(name, (name,)))) for name in names]
    names.append(where(POSITIONS[scene[5]], pick))
    if pick.random() < 0.35:
        named = int(pick.choice(6, p=[0.2, 0.16, 0.16, 0.22, 0.08, 0.18]))
        return str(pick.choice(SINGLE[list(SINGLE)[named]])).format(names[named]), [named]
    chosen = pick.random(6) < (0.8, 0.62, 0.35, 0.4, 0.25, 0.3)
    if not chosen.any():
        chosen[0] = True
    size, texture, colour = (names[i] if chosen[i] else "" for i in (4, 3, 1))
    noun = names[0] if chosen[0] else str(pick.choice(NOUNS))
    words = " ".join(word for word in (size, texture, colour, noun) if word)
    words = ("an " if words[0] in "aeio" else "a ") + words if pick.random() < 0.9 else words
    if chosen[2]:
        ground = ("on a {} background", "on {}", "in front of a {} backdrop", "against a {} background")
        words += " " + str(pick.choice(ground)).format(names[2])
    if chosen[5]:
        words += f" {names[5]}"
    return str(pick.choice(WHOLE)).format(words), list(np.flatnonzero(chosen))


def batch(step: int, seed: int, what: np.ndarray, tokenizer: open_clip.SimpleTokenizer) -> tuple[np.ndarray, ...]:
    """Rows of the images, the tokens of the captions, and which caption is true of which image."""
    pick = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
    rows = pick.integers(0, len(what), IMAGES)
    tokens = np.zeros((CAPTIONS, tokenizer.context_length), np.int64)
    true = np.zeros((IMAGES, CAPTIONS), bool)
    for j in range(CAPTIONS):
        words, named = caption(what[rows[j]], pick)
        inner = tokenizer.encode(words)
        if pick.random() < 0.3:  # unknown words should not disturb
            noise = list(pick.integers(256, MERGES + 512, pick.integers(1, 4)))
            inner = noise + inner if pick.random() < 0.5 else inner + noise
        inner = inner[: tokenizer.context_length - 2]
        tokens[j, : len(inner) + 2] = [tokenizer.sot_token_id, *inner, tokenizer.eot_token_id]
        true[:, j] = (what[rows][:, named] == what[rows[j]][named]).all(1)
    return rows, tokens, true


def loss(images: Tensor, texts: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """Cross-entropy against the even distribution over all positives, both ways."""
    logits = scale * images @ texts.T
    weights = true.float()
    known = weights.sum(1) > 0
    by_image = -(F.log_softmax(logits, 1) * weights).sum(1)[known] / weights.sum(1)[known]
    by_text = -(F.log_softmax(logits, 0) * weights).sum(0) / weights.sum(0)
    return (by_image.mean() + by_text.mean()) / 2


def text_vectors(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """The text tower on as many positions as the longest caption takes."""
    tokens = tokens[:, : int(tokens.argmax(-1).max()) + 1]  # the end token has the largest number
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection, dim=-1)


def pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float().div_(255).sub_(0.5).div_(0.25)


@torch.no_grad()
def evaluate(model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer, count: int = 2000) -> dict[str, float]:
    """Accuracy on fresh scenes: 100 pairs seen and held out, and each label space by a prompt of its own."""
    model.eval()
    prompts = {
        "shape": "a photo of a {}",
        "colour": "a photo of a {} object",
        "background": "a photo of an object on a {} background",
        "texture": "a photo of an object with a {} texture",
        "size": "a photo of a {} object",
        "position": "an object in the {} of the picture",
    }
    result = {}
    for pairs in ("seen", "held-out"):
        what = attributes(999, 0, count, pairs)
        images = F.normalize(model.encode_image(pixels(draw_scenes(what, 999, 0, PIXELS))), dim=-1)
        cells = what[:, 0] * 10 + what[:, 1]
        vectors = text_vectors(model, tokenizer([f"a photo of a {name}" for name in PAIRS]))
        scores = images @ vectors.T
        result[f"{pairs} pairs, of 100"] = float((scores.argmax(1).numpy() == cells).mean())
        if pairs == "held-out":
            others = torch.tensor([not held_out(cell) for cell in range(100)])
            result["held-out pairs, of 20"] = float((scores.masked_fill(others, -9).argmax(1).numpy() == cells).mean())
            vectors = text_vectors(model, tokenizer([HELD_OUT[0].format(f"a {name}") for name in PAIRS]))
            result["held-out pairs, held-out prompt"] = float(((images @ vectors.T).argmax(1).numpy() == cells).mean())
        else:
            for space, names in enumerate((SHAPES, COLOURS, BACKGROUNDS, TEXTURES, SIZES, POSITIONS)):
                kind = list(prompts)[space]
                vectors = text_vectors(model, tokenizer([prompts[kind].format(name) for name in names]))
                result[kind] = float(((images @ vectors.T).argmax(1).numpy() == what[:, space]).mean())
    model.train()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and of the model")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--install", action="store_true", help="write the model into the package at the end")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)

    with gzip.open(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[: MERGES + 1]
    (given.out / "merges.txt.gz").write_bytes(gzip.compress("\n".join(merges).encode(), mtime=0))
    (given.out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    tokenizer = open_clip.SimpleTokenizer(str(given.out / "merges.txt.gz"), context_length=24)
    torch.manual_seed(given.seed)
    config = {**CONFIG["model_cfg"], "text_cfg": {**CONFIG["model_cfg"]["text_cfg"], "tokenizer_kwargs": None}}
    model = open_clip.CLIP(**config)
    groups = [{"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    optimiser = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98))

    checkpoint, start = given.out / "checkpoint.safetensors", 0
    if checkpoint.exists():
        start = restore(model, optimiser, checkpoint)
        print(f"resumes at step {start}")
    what = attributes(given.seed, 0, POOL, "seen")
    pool = np.concatenate([draw_scenes(what[i : i + 2000], given.seed, i, PIXELS) for i in range(0, POOL, 2000)])
    begun = time.process_time()
    for step in range(start, given.steps):
        warm = min(1.0, (step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * warm * 0.5 * (1 + math.cos(math.pi * step / given.steps))
        rows, tokens, true = batch(step, given.seed, what, tokenizer)
        images = F.normalize(model.encode_image(pixels(pool[rows])), dim=-1)
        texts = text_vectors(model, torch.from_numpy(tokens))
        value = loss(images, texts, model.logit_scale.exp(), torch.from_numpy(true))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if (step + 1) % 200 == 0 or step + 1 == given.steps:
            save(model, optimiser, checkpoint, step + 1)
            scores = " ".join(f"{k}={v:.3f}" for k, v in evaluate(model, tokenizer, 1000).items())
            print(f"step {step + 1} loss {value:.3f} {time.process_time() - begun:.0f} s  {scores}", flush=True)
    weights = {name: value.half().contiguous() if value.is_floating_point() else value.clone()
               for name, value in model.state_dict().items()}  # fmt: skip
    save_file(weights, given.out / "open_clip_model.safetensors")
    print(json.dumps(evaluate(model, tokenizer, 4000), indent=2))
    if given.install:
        import fewshot.encoders.bundled as home

        folder = Path(home.__file__).parent / "tiny-clip"
        folder.mkdir(exist_ok=True)
        for name in ("open_clip_model.safetensors", "open_clip_config.json", "merges.txt.gz"):
            (folder / name).write_bytes((given.out / name).read_bytes())


def save(model: torch.nn.Module, optimiser: torch.optim.Optimizer, path: Path, step: int) -> None:
    state = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for number, slots in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{number}.{name}": value for name, value in slots.items()}
    save_file(state, path.with_suffix(".new"), metadata={"step": str(step)})
    path.with_suffix(".new").replace(path)


def restore(model: torch.nn.Module, optimiser: torch.optim.Optimizer, path: Path) -> int:
    from safetensors import safe_open

    state = load_file(path)
    model.load_state_dict({name[6:]: value for name, value in state.items() if name.startswith("model.")})
    held = optimiser.state_dict()
    for name, value in state.items():
        if name.startswith("optimiser."):
            _, number, slot = name.split(".")
            held["state"].setdefault(int(number), {})[slot] = value
    optimiser.load_state_dict(held)
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


if __name__ == "__main__":
    main()
