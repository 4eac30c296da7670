"""Settings among which the defaults of learners are chosen, and what they were before.

``rescale |`` in front brings any features to a mean squared length of one around their mean, so that a number after it
is relative to the data: a learner's ``"auto"`` is the number that was chosen here.
"""

from __future__ import annotations


def _grid(pattern: str, *values: object) -> list[str]:
    return [pattern.format(value) for value in values]


LEARNERS = [
    "alpha-tim", "baseline++", "bd-cspn", "distribution-calibration", "fine-tune", "label-propagation",
    "laplacian-shot", "lda", "logistic", "mahalanobis", "matching", "nearest", "prototypes", "pt-map", "ridge",
    "scaled-prototypes", "simpleshot", "soft-kmeans", "subspace", "svm", "tim", "tim-adm", "transductive-finetune",
]  # fmt: skip
WORDED = [
    "clap", "clip-adapter", "cross-modal", "gda", "lp++", "proker", "stata", "taskres", "tip-adapter", "tip-adapter-f",
    "transclip", "zero-shot", "zlap", "zs-lp",
]  # fmt: skip
BEFORE: dict[str, str] = {}

CANDIDATES = {
    "transductive-finetune": [
        "transductive-finetune(rate=1e-4)",
        *_grid("rescale | transductive-finetune(rate={})", 1e-4, 3e-4, 1e-3),
        *_grid("rescale | transductive-finetune(rate=3e-4, entropy={})", 0.1, 0.3),
    ],
    "fine-tune": [
        *_grid("rescale | fine-tune(rate={})", 0.1, 0.3, 1.0, 3.0, 10.0),
        *_grid("rescale | fine-tune(rate=3.0, decay={})", 1e-4, 1e-2),
    ],
    "baseline++": [
        *_grid("baseline++(rate={})", 0.01, 0.1, 1.0),
        *_grid("rescale | baseline++(rate={})", 0.01, 0.1, 1.0),
        *_grid("baseline++(rate=0.1, scale={})", 20.0, 30.0),
    ],
    "soft-kmeans": [*_grid("rescale | soft-kmeans(scale={})", 1.0, 3.0, 5.0, 10.0, 20.0, 50.0)],
    "ridge": [*_grid("rescale | ridge(alpha={})", 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)],
    "logistic": [
        *_grid("rescale | logistic(C={})", 0.3, 1.0, 3.0, 10.0),
        "logistic(C=10.0)",
        "l2 | logistic(C=10.0)",
        "power | cl2n | lda",
        "l2 | ridge(alpha=0.1)",
    ],
    "label-propagation": [
        *_grid("label-propagation(neighbours={})", 20, 10, 5, 3),
        *_grid("rescale | label-propagation(neighbours={})", 20, 10, 5, 3),
        *_grid("rescale | label-propagation(neighbours=5, spread={})", 0.3, 0.5, 0.95),
        "rescale | label-propagation(neighbours=5, power=1.0)",
    ],
    "tim": [*_grid("rescale | tim(steps=100, rate=1e-3, scale={})", 5.0, 10.0, 15.0, 30.0)],
    "alpha-tim": [*_grid("rescale | alpha-tim(steps=100, rate=1e-3, scale={})", 5.0, 10.0, 15.0, 30.0)],
    "bd-cspn": ["bd-cspn", "l2 | bd-cspn", "cl2n | bd-cspn", "rescale | bd-cspn"],
    "laplacian-shot": [
        "laplacian-shot",
        "l2 | laplacian-shot",
        "cl2n | laplacian-shot",
        *_grid("rescale | laplacian-shot(regularisation={})", 0.1, 0.3, 0.7),
        "rescale | laplacian-shot(rectify=False)",
    ],
    "lda": ["lda", "lda(shrinkage='oas')", *_grid("lda(shrinkage={})", 0.1, 0.3, 0.5, 0.8)],
    "mahalanobis": [],
    "matching": [
        *_grid("matching(scale={})", 10.0, 30.0, 100.0),
        *_grid("rescale | matching(scale={})", 3.0, 5.0, 10.0, 20.0),
    ],
    "subspace": [*_grid("subspace(dimensions={})", 1, 2, 4)],
    "others": ["prototypes", "nearest", "pt-map", "scaled-prototypes", "simpleshot", "prototypes(distance='cosine')",
               "l2 | subspace"],
}  # fmt: skip
CANDIDATES = {name: specs for name, specs in CANDIDATES.items() if specs}
WORDED_CANDIDATES: dict[str, list[str]] = {}
