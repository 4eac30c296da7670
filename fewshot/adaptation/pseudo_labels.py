"""`pseudo-labels` and `prototype-alignment`: adapters that guess target labels by what was learned."""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Support
from episodes.inputs import check_whole
from fewshot.adaptation.adapter import Ask, DomainAdapter
from fewshot.learner import State
from fewshot.maths.linalg import class_means, product

_SHARES = 3.0  # a class may grow or shrink by this factor before guesses count as run away


class PseudoLabels(DomainAdapter):
    """Learns from the target rows, too, that are classified most surely: of each class the surest share, in rounds.

    Where the guesses drift, so that the share of a class among them leaves a third to three times what it is in the
    source, that episode's guesses are dropped, and it is learned from the source alone.

    Args:
        share: of the rows guessed to be of a class, 0..1.
        rounds: how often labels are guessed.

    Raises:
        ValueError: an argument out of range.

    Reference: Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks",
    ICML workshop on challenges in representation learning, 2013.

    Example:
        >>> import torch
        >>> from episodes import CrossDomainSampler, evaluate, load_dataset
        >>> digits = load_dataset("digits")
        >>> domains = torch.arange(len(digits)) % 2  # half of the rows lend labels to the other half
        >>> sampler = CrossDomainSampler(digits.labels, domains, way=5, shot=1, query=10, unlabelled=10)
        >>> results = evaluate(["prototypes", "pseudo-labels | prototypes"], digits, sampler, episodes=20)
        >>> round(results["pseudo-labels | prototypes"].mean, 1)
        0.8
    """

    name = "pseudo-labels"

    def __init__(self, share: float = 0.5, rounds: int = 3) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share={share!r}; it must be above 0 and at most 1.")
        self.share, self.rounds = share, check_whole("rounds", rounds)

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """The source with the target rows that are sure; the others stand there as padding."""
        learned = source
        for _ in range(self.rounds):
            chances = ask(learned, target).softmax(-1)  # [E, U, N]
            learned = self._with(source, target, chances)
        return learned, target.new_zeros(len(target))

    def _with(self, source: Support, target: Tensor, chances: Tensor) -> Support:
        sure, guess = chances.max(-1)  # [E, U]
        of_class = torch.nn.functional.one_hot(guess, source.way).bool()  # [E, U, N]
        counts = of_class.sum(1)  # [E, N]
        # How many rows of its class are surer: ties in the order of rows.
        order = sure.argsort(dim=1, descending=True, stable=True)
        place = order.argsort(dim=1, stable=True)  # [E, U]
        ranked = of_class.gather(1, order.unsqueeze(-1).expand_as(of_class)).cumsum(1)  # [E, U, N]
        rank = ranked.gather(1, place.unsqueeze(-1).expand_as(ranked)).gather(2, guess.unsqueeze(-1)).squeeze(-1)
        wanted = (counts * self.share).ceil().gather(1, guess)
        kept = rank <= wanted  # [E, U]
        kept = kept & ~_run_away(source, counts).unsqueeze(1)
        labels = torch.where(kept, guess, torch.full_like(guess, -1))
        weights = source.weights
        return source.replace(
            support=torch.cat([source.support, target], 1),
            labels=torch.cat([source.labels, labels], 1),
            weights=None if weights is None else torch.cat([weights, torch.ones_like(chances[..., 0])], 1),
        )


def _run_away(source: Support, counts: Tensor) -> Tensor:
    """Episodes whose guesses have other shares of the classes than their source can explain ``[E]``."""
    shots = source.shots.to(torch.float64)
    before = shots / shots.sum(1, keepdim=True).clamp(min=1)
    after = counts / counts.sum(1, keepdim=True).clamp(min=1)
    few = counts.sum(1, keepdim=True) * before < 3  # of three expected rows none may be there by chance
    odd = (after > _SHARES * before) | (after < before / _SHARES)
    return (odd & ~few & (shots > 0)).any(1)


class PrototypeAlignment(DomainAdapter):
    """Moves each class of the source so that its mean is where the target seems to have it: ``x + p_t(c) - p_s(c)``.

    ``p_t(c)`` is the mean of target rows weighted by the probability that they are of class c, guessed in rounds.

    Args:
        rounds: how often labels are guessed.

    Raises:
        ValueError: `rounds` is no whole number above 0.

    Reference: in the manner of Pan, Yao, Li, Wang, Ngo, Mei, "Transferrable prototypical networks for unsupervised
    domain adaptation", CVPR 2019, arXiv:1904.11227, on fixed features.

    Example:
        >>> import torch
        >>> from episodes import EpisodeSampler, load_dataset
        >>> from fewshot import load_learner
        >>> digits = load_dataset("digits")
        >>> episode, targets = EpisodeSampler(digits.labels, way=5, shot=5, query=15).draw(count=20).episode(digits)
        >>> moved = episode.with_query(episode.query + torch.linspace(0, 1, 64))  # other light
        >>> found = [load_learner(spec)(moved).argmax(-1) for spec in ("logistic", "prototype-alignment | logistic")]
        >>> [round((one == targets).float().mean().item(), 1) for one in found]
        [0.7, 0.9]
    """

    name = "prototype-alignment"

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = check_whole("rounds", rounds)

    def align(self, source: Support, target: Tensor, ask: Ask) -> tuple[Support, State]:
        """The source, moved class by class; target rows stay."""
        means = class_means(source)[0]  # [E, N, D]
        one_hot = source.one_hot  # [E, S, N]
        learned = source
        for _ in range(self.rounds):
            chances = ask(learned, target).softmax(-1)  # [E, U, N]
            mass = chances.sum(1)  # [E, N]
            found = product(chances.mT, target) / mass.clamp(min=torch.finfo(mass.dtype).tiny).unsqueeze(-1)
            step = torch.where(mass.unsqueeze(-1) >= 1, found - means, 0)  # a class without a row stays
            learned = source.replace(support=source.support + product(one_hot, step))
        return learned, target.new_zeros(len(target))
