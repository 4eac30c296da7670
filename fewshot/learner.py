"""`Learner`: the contract that every few-shot method keeps, in one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from episodes.episode import Episode
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
        weighted: True if `adapt` makes support rows count as `Episode.weights` says: a row of weight 2 is two rows.
        tolerance: the difference that contract checks forgive, relative to the largest logit; iterative
            solvers may need more than the default.
        expected_failures: contract checks that it fails by nature, each with the reason.
    """

    name: ClassVar[str] = ""
    inputs: str = "features"
    needs: tuple[str, ...] = ("support",)
    transductive: bool = False
    weighted: bool = False
    tolerance: ClassVar[float] = 1e-4
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def adapt(self, episode: Episode) -> State:
        """Learn from the support (and text) of each episode; never reads ``episode.query``.

        Returns:
            Tensors only, leading dimension E. The same state serves any number of queries.
        """
        raise TypeError(f"{type(self).__name__} does not define adapt(episode) -> state.")

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Classify ``query [E, Q, *x]``: logits ``[E, Q, N]``, ``-inf`` for absent classes."""
        raise TypeError(f"{type(self).__name__} does not define predict(state, query) -> logits.")

    def forward(self, episode: Episode) -> Tensor:
        """Logits ``[E, Q, N]`` of an episode batch.

        Raises:
            ValueError: the episode lacks what the learner needs (support rows, or text).
        """
        self.check(episode)
        return self.predict(self.adapt(episode), episode.query)

    def outlier_score(self, episode: Episode, logits: Tensor) -> Tensor:
        """How little each query looks like any of the classes ``[E, Q]``: minus its largest probability.

        Learners that know better (a distance, a density) override it; larger is stranger.
        """
        return -logits.softmax(-1).amax(-1)

    def check(self, episode: Episode) -> None:
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
