"""`Learner`: the contract that every few-shot method keeps, in one page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from episodes.episode import Episode, Support
from episodes.outliers import log_odds_against_best
from episodes.setting import derived_setting
from fewshot.maths.held_out import without_rows
from fewshot.maths.precision import readable, second_look
from fewshot.registry import argument_names, spec_string

State = Any  # a tensor, or (named) tuples and dicts of tensors, each with leading dimension E


class Learner(nn.Module):
    """Learns N classes from few examples, for E episodes at once.

    A subclass is one file: hyper-parameters in ``__init__`` (stored unchanged, under their own names), the
    formula in `adapt` and `predict`. Between calls nothing is kept on ``self`` but `nn.Parameter`s, so one
    learner serves any number of episodes, threads and devices. A learner with parameters is meta-learned:
    `forward` is differentiable, and `fewshot.meta_train` trains it.

    Class attributes:
        name: its name in spec strings (``"ridge"``).
        inputs: which source its rows come from, ``"features"`` or ``"images"``.
        needs: ``("support",)``, ``("text",)`` for zero-shot, or both; with
            ``"unlabelled"`` if it uses such rows.
        transductive: True if a query's logits depend on the other queries of its episode.
        invariant: what must not change predictions, whatever the rows: ``"offset"``, one vector added to all rows of
            an episode (distances do not see it, cosines do), or ``"scale"``, a positive factor on all of them. With
            ``"scale"`` it must compute in the precision of its rows, whatever that of its parameters: float32 rows
            whose squares leave the range come as float64.
        weighted: True if `adapt` makes support rows count as `Support.weights` says: a row of weight 2 is two rows.
        tolerance: the difference that contract checks forgive, relative to the largest logit; iterative
            solvers may need more than the default.
        expected_failures: contract checks that it fails by nature, each with the reason.
        untrained: contract checks that say nothing while its weights are the random ones that it was made with, each
            with the reason. They are run for a trained learner, ``check_learner(learner, trained=True)``.
    """

    name: ClassVar[str] = ""
    inputs: str = "features"
    needs: tuple[str, ...] = ("support",)
    transductive: bool = False
    invariant: tuple[str, ...] = ()
    weighted: bool = False
    tolerance: ClassVar[float] = 1e-4
    expected_failures: ClassVar[Mapping[str, str]] = {}
    untrained: ClassVar[Mapping[str, str]] = {}

    @property
    def setting(self) -> str:
        """What it may see, one of `episodes.SETTINGS`; `episodes.evaluate` shows it no more."""
        return derived_setting(self.transductive, self.needs)

    def __init_subclass__(cls, **options: Any) -> None:
        """Let `adapt` of every learner see the support only, also where it is called with an episode."""
        super().__init_subclass__(**options)
        if "adapt" in vars(cls):
            if "adapt_without" not in vars(cls):
                cls.adapt_without = Learner.adapt_without  # type: ignore[method-assign]
            cls.adapt = _without_query(cls.adapt)  # type: ignore[method-assign]

    def adapt(self, support: Support) -> State:
        """Learn from the support (and text) of each episode; there are no queries in it.

        Where it is called with an `Episode`, it receives the `Support` of that.

        Returns:
            Tensors only, leading dimension E. The same state serves any number of queries.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define adapt(support) -> state.")

    def adapt_without(self, state: State, support: Support, left: Tensor) -> State:
        """Learn one task F times, each time without some of its rows, which can then be asked about.

        It is `adapt` to copies of the task whose rows left out are padding. A learner that can take rows out of what it
        has learned, in less time, may override it (`Ridge` does); where it cannot for the task at hand, it calls this.
        A subclass with an `adapt` of its own starts from this again.

        Args:
            state: what `adapt` made of all rows.
            support: the task, E = 1.
            left: True for the rows that are left out ``[F, S]``.

        Returns:
            As `adapt` does, leading dimension F.
        """
        return self.adapt(without_rows(support, left))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Classify ``query [E, Q, *x]``: logits ``[E, Q, N]``, ``-inf`` for absent classes."""
        raise NotImplementedError(f"{type(self).__name__} does not define predict(state, query) -> logits.")

    def forward(self, episode: Episode) -> Tensor:
        """Logits ``[E, Q, N]`` of an episode batch.

        They are in the precision of the rows; in float32 where rows are in half precision or integers, and in
        float64 where squares of the rows leave float32.

        Raises:
            ValueError: the episode lacks what the learner needs (support rows, or text), or its rows hold no
                features, NaN or infinity.
        """
        self.check(episode)
        episode = readable(episode, self)
        logits = self.predict(self.adapt(episode.without_query()), episode.query)
        if logits.device.type != "cpu" or not logits.numel() or bool(logits.detach().amax() < torch.inf):
            return logits
        again = second_look(episode, self)
        return logits if again is None else self.predict(self.adapt(again.without_query()), again.query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """How little each query looks like any of the classes ``[E, Q]``: the log-odds against the most likely one.

        That orders queries as minus the largest probability does, also where probabilities round to 1. Learners
        that know better (a distance, a density) override it; larger is stranger.
        """
        return log_odds_against_best(logits)

    def check(self, episode: Support) -> None:
        """Refuse an episode that lacks what this learner `needs`."""
        if "text" in self.needs and episode.text is None:
            raise ValueError(
                f"{self!r} needs class text, but the episode has none; "
                "give text vectors (Prompts, or text= in evaluate), or choose a learner that needs support only."
            )
        if "text" not in self.needs and episode.support.shape[1] == 0:
            raise ValueError(
                f"{self!r} needs support rows, but the episode has none (shot = 0); "
                "use shot >= 1, or a learner that uses class text, such as 'zero-shot'."
            )

    def hyperparameters(self) -> dict[str, Any]:
        """The arguments of ``__init__`` with their present values."""
        return {name: getattr(self, name) for name in argument_names(type(self))}

    def __repr__(self) -> str:
        """The spec string: `load_learner` makes an equal learner of it."""
        return spec_string(self.name, self)


def _without_query(adapt: Callable[..., State]) -> Callable[..., State]:
    @functools.wraps(adapt)
    def call(self: Learner, support: Support, *rest: Any, **options: Any) -> State:
        return adapt(self, support.without_query() if isinstance(support, Episode) else support, *rest, **options)

    return call
