"""Every registered learner keeps every point of the contract."""

from __future__ import annotations

import pytest

from fewshot.learners import list_learners, load_learner
from fewshot.nets.conv4 import Conv4
from fewshot.testing import ContractError, check_learner, list_checks, run_check

# Settings beyond the defaults that take another path through the code, and chains.
EXTRA = [
    "prototypes(distance='cosine')",
    "nearest(k=3)",
    "nearest(k=3, distance='cosine')",
    "ridge(alpha=0.01)",
    "logistic(C=0.1)",
    "sklearn(estimator='SVC')",
    "l2 | prototypes",
    "cl2n | ridge(alpha=0.1)",
    "power(beta=0.5) | l2 | logistic",
    "tim(steps=30, metric='cosine')",
    "pt-map(query_prior='free')",
    "soft-kmeans(queries=False)",
    "soft-kmeans(distractors=True, steps=3)",
    "laplacian-shot(rectify=True)",
    "fine-tune(head='cosine')",
    "lda(shrinkage='oas', prior='empirical')",
    "logistic(C='cv', folds=3)",
    "maml(net='linear', way=4, item_shape=(16,), steps=5)",
    "maml(net=\"mlp(widths=(24,), norm='task', activation='tanh')\", way=4, item_shape=(16,), steps=3, strategy='loop')",
    "mlp(item_shape=(16,), widths=(12,)) | r2d2",
    "mlp(item_shape=(16,), widths=(12,)) | metaoptnet",
]
# Untrained weights separate classes after enough inner steps; a small net on features is enough for the contract.
SMALL = "net=\"mlp(widths=(24,), activation='tanh')\", way=4, item_shape=(16,), steps=6, lr=0.2"
SHORT = {"tuned": "tuned(epochs=3)"} | {
    name: f"{name}({SMALL})"
    for name in ("maml", "fomaml", "anil", "boil", "metasgd", "maml++", "reptile", "proto-maml")
}
RANDOM = ("relation",)  # whose weights are random here, and say nothing about classes whatever the steps
NAMES = [SHORT.get(name, name) for name in list_learners()]


@pytest.mark.parametrize("check", list_checks())
@pytest.mark.parametrize("learner", [*NAMES, *EXTRA])
def test_contract(learner: str, check: str) -> None:
    outcome = run_check(check, learner, trained=learner not in RANDOM)
    if outcome.startswith("skipped"):
        pytest.skip(outcome)
    if outcome.startswith("expected failure"):
        pytest.xfail(outcome)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("learner", [name for name in NAMES if name not in ("sklearn", SHORT["tuned"])])
def test_the_contract_is_kept_on_other_episodes(learner: str, seed: int) -> None:
    for check in list_checks():
        run_check(check, learner, seed=seed, trained=learner not in RANDOM)


@pytest.mark.parametrize("name", [name for name in SHORT if name != "tuned"])
def test_a_learner_with_random_weights_passes_as_it_stands_in_the_registry(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are checked as they stand, by `test_contract`; these with fewer channels, for the sake of time."""
    assert Conv4.__init__.__defaults__ is not None
    monkeypatch.setattr(
        Conv4.__init__, "__defaults__", (Conv4.__init__.__defaults__[0], 4, *Conv4.__init__.__defaults__[2:])
    )
    learner = load_learner(name)
    assert repr(learner) == name
    assert sum(value.numel() for value in learner.parameters()) < 4000
    passed, untrained = check_learner(learner), set(learner.untrained)
    assert len(passed) > 20
    assert not untrained & set(passed)
    with pytest.raises(ContractError, match="separable classes"):
        check_learner(learner, ["learns_separable_classes", "one_shot", "unequal_shots"], trained=True)
