"""Settings among which the defaults of learners are chosen, and what they were before.

``rescale |`` in front brings any features to a mean squared length of one around their mean, so that a number after it
is relative to the data: a learner's ``"auto"`` is the number that was chosen here.
"""

from __future__ import annotations


def _grid(pattern: str, *values: object) -> list[str]:
    return [pattern.format(value) for value in values]


LEARNERS = [
    "alpha-tim", "baseline++", "bd-cspn", "fine-tune", "label-propagation",
    "laplacian-shot", "lda", "logistic", "mahalanobis", "matching", "nearest", "prototypes", "pt-map", "ridge",
    "scaled-prototypes", "simpleshot", "soft-kmeans", "subspace", "svm", "tim", "tim-adm", "transductive-finetune",
]  # fmt: skip
WORDED = [
    "clap", "clip-adapter", "cross-modal", "gda", "lp++", "proker", "stata", "taskres", "tip-adapter", "tip-adapter-f",
    "transclip", "zero-shot", "zlap", "zs-lp",
]  # fmt: skip
# What the defaults were; steps of TIM in a tenth of the number and ten times the length.
BEFORE = {
    "alpha-tim": "alpha-tim(alpha='auto', scale=15.0, cross_entropy=1.0)",
    "baseline++": "baseline++(lr=0.01, scale=10.0)",
    "fine-tune": "fine-tune(lr=0.01)",
    "label-propagation": "label-propagation(neighbours=20, power=3.0, centred=False, means=0.0)",
    "laplacian-shot": "laplacian-shot(regularisation=0.7, rectify=True)",
    "lda": "lda(shrinkage='ledoit-wolf')",
    "logistic": "logistic(C=1.0)",
    "mahalanobis": "mahalanobis(regularisation=1.0)",
    "matching": "matching(scale=10.0, centred=False, means=0.0)",
    "pt-map": "pt-map(steps=20, lr=0.2, tightness=None, means=0.0)",
    "proker": "proker(beta=5.0, strength=1.0, scale=100.0, words=0.0)",
    "ridge": "ridge(alpha=1.0)",
    "soft-kmeans": "soft-kmeans(scale=1.0, validated=False, limit=None)",
    "svm": "svm(C=0.1, means=0.0)",
    "tim": "tim(scale=15.0, cross_entropy=0.1)",
    "tim-adm": "tim-adm(scale=15.0)",
    "taskres": "taskres(scale=100.0, words=0.0)",
    "tip-adapter": "tip-adapter(alpha=1.0, beta=5.5)",
    "transductive-finetune": "transductive-finetune(lr=1e-3, entropy=1.0)",
    **{name: f"{name}(words=0.0)" for name in ("clap", "clip-adapter", "cross-modal", "gda", "lp++", "stata",
                                               "tip-adapter-f", "transclip", "zlap", "zs-lp")},
}  # fmt: skip

CANDIDATES = {
    "alpha-tim": [
        *_grid("l2 | rescale | alpha-tim(scale={})", 10.0, 15.0, 30.0),
        *_grid("l2 | alpha-tim(cross_entropy={})", 1.0, 3.0, 10.0),
        "l2 | rescale | alpha-tim(alpha='auto', scale=15.0, cross_entropy=1.0)",
    ],
    "baseline++": [*_grid("l2 | baseline++(lr={})", 0.01, 0.1), "l2 | baseline++(scale=10.0)"],
    "fine-tune": _grid("l2 | rescale | fine-tune(lr={})", 0.3, 1.0, 3.0, 10.0),
    "label-propagation": [
        *_grid("l2 | label-propagation(means={})", 0.0, 0.3, 0.6, 1.0, 2.0),
        *_grid("l2 | label-propagation(neighbours={})", 5, 20),
        "l2 | label-propagation(neighbours=20, power=3.0, centred=False, means=0.0)",
    ],
    "laplacian-shot": [
        *_grid("l2 | laplacian-shot(regularisation={}, rectify=True)", 0.1, 0.3, 0.7),
        *_grid("l2 | laplacian-shot(regularisation={})", 0.3, 0.7),
    ],
    "lda": ["l2 | lda", "l2 | lda(shrinkage='ledoit-wolf')", *_grid("l2 | lda(shrinkage={})", 0.3, 0.8)],
    "logistic": _grid("l2 | rescale | logistic(C={})", 1.0, 3.0, 10.0),
    "mahalanobis": _grid("l2 | rescale | mahalanobis(regularisation={})", 0.1, 0.3, 1.0),
    "matching": [
        *_grid("l2 | matching(means={})", 0.0, 0.25, 0.5, 1.0),
        "l2 | matching(scale=10.0)",
        "l2 | matching(scale=10.0, centred=False, means=0.0)",
    ],
    "ridge": [
        *_grid("l2 | ridge(means={})", 0.0, 0.1, 0.3, 1.0),
        *_grid("l2 | rescale | ridge(alpha={})", 0.3, 1.0, 3.0),
    ],
    "pt-map": [
        *_grid("l2 | pt-map(means={})", 0.0, 0.5, 1.0, 1.5, 2.0),
        *_grid("l2 | pt-map(tightness={})", 0.5, 2.0, None),
        "l2 | pt-map(steps=20, lr=0.2, tightness=None, means=0.0)",
    ],
    "soft-kmeans": [
        *_grid("l2 | soft-kmeans(limit={})", None, 0.5, 1.0, 2.0),
        *_grid("l2 | rescale | soft-kmeans(scale={}, limit=None)", 1.0, 5.0, 20.0),
        *_grid("l2 | rescale | soft-kmeans(scale={}, validated=False, limit=None)", 1.0, 10.0),
    ],
    "svm": [
        *_grid("l2 | svm(means={})", 0.0, 0.3, 1.0, 2.0),
        *_grid("l2 | rescale | svm(C={}, means=0.0)", 0.1, 3.0),
    ],
    "tim": [
        *_grid("l2 | rescale | tim(scale={})", 5.0, 10.0, 15.0), *_grid("l2 | tim(cross_entropy={})", 0.1, 0.3, 1.0),
    ],
    "tim-adm": _grid("l2 | rescale | tim-adm(scale={})", 5.0, 10.0, 15.0),
    "transductive-finetune": [
        *_grid("l2 | rescale | transductive-finetune(lr={})", 1e-4, 3e-4, 1e-3),
        "l2 | rescale | transductive-finetune(lr=3e-4, entropy=1.0)",
    ],
    "of a classifier": [
        "l2 | logistic", "l2 | logistic(C=10.0)", "power | cl2n | lda", "l2 | ridge(alpha=0.1)", "l2 | lda",
    ],
}  # fmt: skip

_WORDS = (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0)  # weights before rows are held out; 0: the method alone
WORDED_CANDIDATES = {
    **{name: _grid(name + "(words={})", *_WORDS) for name in WORDED if name not in ("zero-shot", "tip-adapter")},
    "tip-adapter": ["tip-adapter", "tip-adapter(scale='auto')", "tip-adapter(alpha=1.0, beta=5.5, scale=100.0)"],
    "proker alone": [
        *_grid("proker(strength={}, words=0.0)", 3.0, 10.0, 30.0),
        "proker(scale=100.0, words=0.0)",
        "proker(beta=5.0, strength=1.0, scale=100.0, words=0.0)",
    ],
    "clap alone": ["clap(words=0.0)", *_grid("clap(scale={}, words=0.0)", "'auto'", 50.0, 20.0)],
    "taskres alone": ["taskres(words=0.0)", *_grid("taskres(scale={}, words=0.0)", 100.0, 20.0)],
    "zs-lp alone": ["zs-lp(words=0.0)", *_grid("zs-lp(scale={}, words=0.0)", "'auto'", 20.0)],
    "lp++ alone": ["lp++(words=0.0)", *_grid("lp++(start={}, words=0.0)", "'auto'", 50.0)],
    "tip-adapter-f alone": ["tip-adapter-f(words=0.0)", *_grid("tip-adapter-f(scale={}, words=0.0)", "'auto'", 20.0)],
    "cross-modal alone": [
        *_grid("cross-modal(alpha={}, words=0.0)", 3.0, 10.0, 30.0),
        *_grid("cross-modal(text_weight={}, words=0.0)", 1.0, 10.0),
        "cross-modal(solver='sgd', words=0.0)",
    ],
}
