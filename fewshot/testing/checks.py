"""The contract checks, one function each; a failed one raises `AssertionError` with what was found."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fewshot.registry import argument_names
from fewshot.testing.exam import Exam, Skip

Check = Callable[[Exam], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Put a function among the checks, under its own name."""
    CHECKS[function.__name__] = function
    return function


@check
def shape_and_dtype(exam: Exam) -> None:
    """Logits are ``[E, Q, N]``, finite, in the precision of the rows."""
    for dtype in (torch.float32, torch.float64):
        episode, targets = exam.make(dtype=dtype)
        logits = copy.deepcopy(exam.learner).to(dtype)(episode)
        expected = [*targets.shape, episode.way]
        assert list(logits.shape) == expected, f"logits are {list(logits.shape)}, expected [E, Q, N] = {expected}"
        assert logits.dtype == dtype, f"{dtype} rows gave {logits.dtype} logits"
        assert logits.isfinite().all(), "logits are not finite"


@check
def learns_separable_classes(exam: Exam) -> None:
    """More than 80 % right where classes lie far apart."""
    accuracy = (exam.logits().argmax(-1) == exam.targets).float().mean().item()
    assert accuracy > 0.8, f"accuracy {accuracy:.0%} on separable classes, expected more than 80 %"


@check
def episodes_are_independent(exam: Exam) -> None:
    """A batch of episodes gives what its episodes give one by one."""
    one_by_one = torch.cat([exam.logits(episode) for episode in exam.episode])
    exam.same(exam.logits(), one_by_one, "a batch against its episodes one by one")


@check
def class_order_does_not_matter(exam: Exam) -> None:
    """Renumbering the classes renumbers the logits."""
    order = torch.tensor([2, 0, 1])  # new class n is old class order[n]
    episode = exam.episode
    renamed = episode.replace(
        labels=torch.argsort(order)[episode.labels],
        text=None if episode.text is None else episode.text[:, order],
    )
    exam.same(exam.logits(renamed), exam.logits()[..., order], "renumbered classes")


@check
def support_order_does_not_matter(exam: Exam) -> None:
    """Support rows are a set."""
    episode = exam.episode
    order = torch.randperm(episode.labels.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    exam.same(exam.logits(shuffled), exam.logits(), "shuffled support")


@check
def query_order_does_not_matter(exam: Exam) -> None:
    """Shuffling the queries shuffles the logits."""
    order = torch.randperm(exam.targets.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = exam.episode.replace(query=exam.episode.query[:, order])
    exam.same(exam.logits(shuffled), exam.logits()[:, order], "shuffled queries")


@check
def inductive_flag_is_honest(exam: Exam) -> None:
    """Unless it is flagged transductive, a query's logits do not depend on the other queries."""
    if exam.learner.transductive:
        raise Skip("declared transductive")
    single = [exam.logits(exam.episode.replace(query=exam.episode.query[:, q : q + 1])) for q in range(6)]
    exam.same(torch.cat(single, 1), exam.logits(), "queries one at a time (transductive = False)")


@check
def padding_is_ignored(exam: Exam) -> None:
    """Support rows labelled -1 change nothing, whatever they hold."""
    episode = exam.episode
    garbage = 1e3 * torch.randn(episode.support[:, :3].shape, generator=torch.Generator().manual_seed(0))
    padded = episode.replace(
        support=torch.cat([garbage[:, :1], episode.support, garbage[:, 1:]], 1),
        labels=torch.cat([torch.full((3, 1), -1), episode.labels, torch.full((3, 2), -1)], 1),
    )
    exam.same(exam.logits(padded), exam.logits(), "with padding rows")


@check
def zero_shot(exam: Exam) -> None:
    """Without support: finite logits where there is text, else a `ValueError` that says what is missing."""
    episode, targets = exam.make(shot=0)
    if "text" in exam.learner.needs:
        assert exam.logits(episode).isfinite().all(), "logits without support are not finite"
        return
    try:
        exam.logits(episode)
    except ValueError as error:
        assert "support" in str(error), f"the error does not name the support: {error}"
        return
    raise AssertionError(f"accepts an episode without support and text and classifies {targets.shape[1]} queries")


@check
def one_shot(exam: Exam) -> None:
    """One row per class is enough."""
    episode, targets = exam.make(shot=1)
    logits = exam.logits(episode)
    assert logits.isfinite().all(), "logits are not finite with one shot"
    accuracy = (logits.argmax(-1) == targets).float().mean().item()
    assert accuracy > 0.6, f"accuracy {accuracy:.0%} with one shot on separable classes"


@check
def unequal_shots(exam: Exam) -> None:
    """Classes may have different numbers of rows."""
    episode = exam.episode
    labels = episode.labels.clone()
    for e in range(3):  # class 0 keeps one row, class 1 two
        for n, keep in ((0, 1), (1, 2)):
            labels[e, (labels[e] == n).nonzero()[keep:, 0]] = -1
    logits = exam.logits(episode.replace(labels=labels))
    assert logits.isfinite().all(), "logits are not finite with unequal shots"
    accuracy = (logits.argmax(-1) == exam.targets).float().mean().item()
    assert accuracy > 0.6, f"accuracy {accuracy:.0%} with 1, 2 and 4 shots on separable classes"


@check
def one_query(exam: Exam) -> None:
    """A single query is enough."""
    logits = exam.logits(exam.episode.replace(query=exam.episode.query[:, :1]))
    assert list(logits.shape) == [3, 1, 3], f"logits of one query are {list(logits.shape)}, expected [3, 1, 3]"
    assert logits.isfinite().all(), "logits of one query are not finite"


@check
def absent_classes_are_never_chosen(exam: Exam) -> None:
    """A class with neither support nor text has logit ``-inf``; one with text stays possible."""
    episode = exam.episode
    labels = torch.where(episode.labels == 1, -1, episode.labels)
    logits = exam.logits(episode.replace(labels=labels))
    if episode.text is not None:
        assert logits.isfinite().all(), "a class with text but no support must stay possible"
        return
    assert (logits[..., 1] == -torch.inf).all(), "the logit of a class without support must be -inf"
    assert logits[..., [0, 2]].isfinite().all(), "the other classes' logits are not finite"


@check
def gradients_reach_everything(exam: Exam) -> None:
    """Every parameter gets a finite gradient that is not zero; so does the support, where there is one."""
    parameters = [p for p in exam.learner.parameters() if p.requires_grad]
    episode = exam.episode.replace(support=exam.episode.support.clone().requires_grad_())
    with torch.enable_grad():
        logits = exam.logits(episode)
        if not logits.requires_grad:
            assert not parameters, "the graph is cut: logits do not depend on the parameters"
            raise Skip("not differentiable, and nothing to train")
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), exam.targets.flatten())
        inputs = [*parameters, episode.support]
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True)
    names = [name for name, p in exam.learner.named_parameters() if p.requires_grad]
    for name, gradient in zip([*names, "support"], gradients, strict=True):
        if name == "support" and gradient is None:
            continue
        assert gradient is not None, f"no gradient reaches {name}"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert name == "support" or gradient.abs().max() > 0, f"the gradient of {name} is zero"


@check
def inputs_are_not_changed(exam: Exam) -> None:
    """The episode is as it was."""
    episode, _ = exam.make()
    exam.logits(episode)
    expected = exam.episode
    for name in ("support", "labels", "query", "text", "ids"):
        now, before = getattr(episode, name), getattr(expected, name)
        assert now is None or torch.equal(now, before), f"episode.{name} was changed"


@check
def global_random_numbers_are_untouched(exam: Exam) -> None:
    """No global generator is drawn from or seeded."""

    def states() -> list[bytes]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (read, not drawn from)
        return [torch.get_rng_state().numpy().tobytes(), repr((kind, list(keys), rest)).encode(),
                repr(random.getstate()).encode()]  # fmt: skip

    before = states()
    exam.logits()
    for name, old, new in zip(("torch", "numpy", "random"), before, states(), strict=True):
        assert old == new, f"the global random numbers of {name} were used"


@check
def is_deterministic(exam: Exam) -> None:
    """Asked twice, it answers the same."""
    first, second = exam.logits(), exam.logits()
    assert torch.equal(first, second), f"a second call differs by {(first - second).abs().max():.3g}"


@check
def state_is_tensors(exam: Exam) -> None:
    """`adapt` returns tensors only, each with leading dimension E."""
    for leaf in pytree.tree_leaves(_adapt(exam)):
        assert isinstance(leaf, Tensor), f"the state holds a {type(leaf).__name__}, not only tensors"
        assert leaf.ndim and len(leaf) == 3, f"a state tensor is {list(leaf.shape)}; it must begin with E = 3"


@check
def adapt_does_not_read_the_query(exam: Exam) -> None:
    """The state is the same whatever the queries are."""
    poisoned = exam.episode.replace(query=torch.full_like(exam.episode.query, torch.nan))
    honest, other = pytree.tree_leaves(_adapt(exam)), pytree.tree_leaves(exam.learner.adapt(poisoned))
    same = len(honest) == len(other) and all(
        torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) and torch.equal(a.isnan(), b.isnan())
        for a, b in zip(honest, other, strict=True)
    )
    assert same, "the state depends on the queries"


@check
def nothing_is_kept(exam: Exam) -> None:
    """Nothing stays on ``self`` from one episode to the next."""

    def memory() -> dict[str, str]:
        return {
            f"{name}.{key}": repr(value) if not isinstance(value, dict) else repr(sorted(map(str, value)))
            for name, module in exam.learner.named_modules()
            for key, value in vars(module).items()
            if not isinstance(value, torch.nn.Module)
        }

    before, weights = memory(), copy.deepcopy(exam.learner.state_dict())
    exam.logits()
    after = memory()
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    assert not changed, f"forward changed {', '.join(key.lstrip('.') for key in changed)}"
    for name, value in exam.learner.state_dict().items():
        assert torch.equal(value, weights[name]), f"forward changed {name}"


@check
def hyperparameters_are_stored(exam: Exam) -> None:
    """Every argument of ``__init__`` is an attribute of the same name, and makes an equal learner."""
    for name in argument_names(type(exam.learner)):
        assert hasattr(exam.learner, name), f"the argument {name!r} is not stored under its name"
    twin = type(exam.learner)(**exam.learner.hyperparameters())
    assert repr(twin) == repr(exam.learner), f"its own hyper-parameters make {twin!r}"


@check
def spec_string_round_trip(exam: Exam) -> None:
    """``load_learner(repr(learner))`` is an equal learner."""
    from fewshot.learners import list_learners, load_learner

    if exam.learner.name and exam.learner.name not in list_learners():
        raise Skip("not registered")
    twin = load_learner(repr(exam.learner)).eval()
    assert type(twin) is type(exam.learner), f"repr makes a {type(twin).__name__}"
    assert repr(twin) == repr(exam.learner), f"repr changes to {twin!r}"
    twin.load_state_dict(exam.learner.state_dict())
    exam.same(twin(exam.episode), exam.logits(), "a learner made from repr")


@check
def weights_can_be_saved(exam: Exam) -> None:
    """Parameters survive safetensors, and a copy answers the same."""
    from safetensors.torch import load, save

    weights = {name: value.contiguous() for name, value in exam.learner.state_dict().items()}
    twin = copy.deepcopy(exam.learner)
    for parameter in twin.parameters():
        parameter.detach().zero_()
    twin.load_state_dict(load(save(weights)))
    exam.same(twin(exam.episode), exam.logits(), "a saved and loaded learner")


@check
def degenerate_rows_give_no_nan(exam: Exam) -> None:
    """Equal rows, zero rows, a constant feature, negative rows, all queries of one class: no NaN."""
    episode = exam.episode
    first, positive = episode.support[:, :1], episode.support.abs()
    cases = {
        "all support rows equal": episode.replace(support=first.expand_as(episode.support).clone()),
        "zero rows": episode.replace(support=torch.zeros_like(episode.support), query=torch.zeros_like(episode.query)),
        "negative rows": episode.replace(support=-positive, query=-episode.query.abs()),
        "queries of one class": episode.replace(query=episode.query[:, :1].expand_as(episode.query).clone()),
    }
    support, query = episode.support.clone(), episode.query.clone()
    support[..., 0] = query[..., 0] = 1.0
    cases["a constant feature"] = episode.replace(support=support, query=query)
    for name, case in cases.items():
        assert not exam.logits(case).isnan().any(), f"NaN with {name}"


@check
def accelerator_equals_cpu(exam: Exam) -> None:
    """The same logits on a GPU."""
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    expected = exam.logits()
    moved = copy.deepcopy(exam.learner).to("cuda")
    exam.same(moved(exam.episode.to("cuda")).cpu(), expected, "on the GPU")


def _adapt(exam: Exam) -> object:
    return exam.learner.adapt(exam.episode)
