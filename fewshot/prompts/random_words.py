"""Random words in prompts: the control that any gain from descriptions must beat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def random_features(class_names: Sequence[str], pairs: int, seed: int) -> list[str]:
    """For each pair one text of random words and one of random letters, shared by all classes.

    As many words as a class name has on average, and about as many letters as its longest words. A function of
    the names and the seed.

    Reference: Roth et al., "Waffling around for performance: visual classification with random words and broad
    concepts", ICCV 2023, arXiv:2306.07282.

    >>> len(random_features(["great owl", "hen"], 3, seed=0))
    6
    """
    digest = hashlib.sha256("\n".join(class_names).encode()).digest()
    pick = np.random.Generator(np.random.Philox(key=[seed, int.from_bytes(digest[:8], "little")]))
    words = _words()
    count = max(1, round(sum(len(name.split()) for name in class_names) / len(class_names)))
    letters = round(sum(max(map(len, name.split())) for name in class_names) / len(class_names))
    features = []
    for _ in range(pairs):
        features.append(" ".join(words[number] for number in pick.integers(0, len(words), count)))
        groups = ["".join(chr(97 + letter) for letter in pick.integers(0, 26, max(2, letters))) for _ in range(count)]
        features.append(" ".join(groups))
    return features


def _words() -> list[str]:
    """Common words of five to nine letters, out of the vocabulary of CLIP's tokenizer."""
    import gzip
    from pathlib import Path

    import open_clip

    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1:12_000]
    joined = (merge.replace(" ", "") for merge in merges if merge.endswith("</w>"))
    return [word[:-4] for word in joined if word[:-4].isalpha() and word.isascii() and 5 <= len(word) - 4 <= 9]
