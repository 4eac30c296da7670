"""A method with class words, its words alone and class means: three answers, weighed by rows that are held out."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from episodes.episode import Support
from fewshot.learner import Learner, State
from fewshot.maths.experts import likeliest_weights, sharpness_of_means
from fewshot.maths.held_out import folds_by_value
from fewshot.maths.linalg import product
from fewshot.maths.spread import AUTO
from fewshot.maths.text_head import TextState, cosines, read_text, scale_of, spread_of_rows, without

_FOLDS = 4
_MANY, _THIRDS = 1000, 3  # rows above which a third is asked about, once, and a third learned from
_ASKED = 2**20  # logits of the rows of a fold, at most


class BesideWordsState(NamedTuple):
    """What the method learned, its weight, and what words and class means say together: they are linear."""

    alone: State
    share: Tensor  # [E, 1, 1]
    direction: Tensor  # [E, N, D]
    bias: Tensor  # [E, N]
    absent: Tensor  # [E, N]


class BesideWords(Learner):
    """A learner with class words that may be no worse than its words, or class means, alone.

    ``logits = a f(q) + b s cos(q, t_n) - c k |q - p_n|²`` for the logits f of the method, rows of length one, its own
    factor s on cosines (`fitted_scale` where it has none) and the k of `sharpness_of_means`. The weights are those
    under which labelled rows are likeliest that method and means were made without, in four folds with a quarter of
    every class each (`likeliest_weights`); where there are few such rows they are near 1, `words` / K and 1 - 1 / K for
    a mean of K rows a class. Of more than 1,000 rows a third of every class is asked about, once, and another third
    learned from. At one row a class nothing can be left out, and it is the mean of method and words, weighed 1 and
    `words`; without any row it is the method. Gradients take the weights as they are, and pass words and means by where
    they pass the method by.

    A subclass is the method: `adapt_alone` and `predict_alone`, and an argument `words`, 0 for the method alone.
    """

    words: float
    scale_is_of_cosines: ClassVar[bool] = True  # what the method calls `scale`

    def adapt_alone(self, support: Support) -> State:
        """The method's `Learner.adapt`."""
        raise NotImplementedError(f"{type(self).__name__} does not define adapt_alone(support) -> state.")

    def predict_alone(self, state: State, query: Tensor) -> Tensor:
        """The method's `Learner.predict`."""
        raise NotImplementedError(f"{type(self).__name__} does not define predict_alone(state, query) -> logits.")

    def adapt(self, support: Support) -> State:
        """Learn as the method does, and weigh it against words and class means."""
        alone = self.adapt_alone(support)
        if not self.words:
            return alone
        known = read_text(support)
        first, second, third = self._weights(support, known).to(known.text).view(-1, 3, 1, 1).unbind(1)  # [E, 1, 1]
        means, sharpness = class_means_of(known, known.one_hot), _sharpness(known, known.one_hot)
        direction = self._scale(known) * second * known.text + 2 * third * sharpness * means
        bias = -(third * sharpness * means.square()).sum(-1)  # |q|² is 1 for all classes
        if not any(leaf.requires_grad for leaf in tree_leaves(alone)):  # a part of a gradient would be a wrong one
            direction, bias = direction.detach(), bias.detach()
        return BesideWordsState(alone, first, direction, bias, known.absent)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """The method's logits, and those of words and means."""
        if not self.words:
            return self.predict_alone(state, query)
        logits = self.predict_alone(state.alone, query).masked_fill(state.absent.unsqueeze(1), 0)
        logits = state.share * logits + cosines(query, state.direction) + state.bias.unsqueeze(1)
        return without(logits, state.absent)

    def _scale(self, known: TextState) -> Tensor:
        scale = getattr(self, "scale", AUTO) if self.scale_is_of_cosines else AUTO
        return scale_of(scale, known)  # [E, 1, 1]

    @torch.no_grad()
    def _weights(self, support: Support, known: TextState) -> Tensor:
        """Of the method, words and class means ``[E, 3]``."""
        shots = known.one_hot.sum(1)  # [E, N]
        rows = shots.sum(1)  # [E]
        part = 1 / (rows / (~known.absent).sum(1)).clamp(min=1)
        before = torch.stack([torch.ones_like(part), self.words * part, 1 - part], -1)
        before = torch.where((rows > 0).unsqueeze(-1), before, before.new_tensor([1.0, 0.0, 0.0]))
        number = folds_by_value(support, max(1, support.labels.shape[1]))  # of a row in its class [E, S]
        several = (known.one_hot * (shots > 1).unsqueeze(1)).any(-1)  # [E, S]
        crowd = (rows > _MANY).unsqueeze(-1)
        folds = torch.where(crowd, _THIRDS, _FOLDS)
        fold, some = number % folds, number < folds * max(1, _ASKED // support.way**2)
        seen, target = [], []
        for turn in range(_FOLDS):
            out = several & torch.where(crowd, (fold > 0) & (turn == 0), fold == turn)  # [E, S]
            asked = out & some & (~crowd | (fold == 1))
            if bool(out.any()):
                logits, labels = self._left_out(support, known, out, asked)
                seen.append(logits)
                target.append(labels)
        alone = before / before.sum(-1, keepdim=True)  # a mean: so probabilities stay about as sharp as they were
        if not seen:
            return alone
        weights = likeliest_weights(torch.cat(seen, 1), torch.cat(target, 1), before.to(seen[0]))
        return torch.where(several.any(1, keepdim=True), weights, alone)

    def _left_out(self, support: Support, known: TextState, out: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """What the three say of rows that were left out ``[E, R, N, 3]``, and the labels ``[E, R, N]``."""
        left = known.one_hot * ~out.unsqueeze(-1)
        stays, most = left.any(-1), asked.sum(1)  # [E, S], [E]
        place = _first(asked, int(most.max()))  # [E, R]
        method = known.text.new_zeros(*place.shape, support.way)
        kept = _first(stays, int(stays.sum(1).max()))
        labels = torch.where(stays.gather(1, kept), support.labels.gather(1, kept), -1)
        rest = Support(_rows(support.support, kept), labels, support.way, support.text, support.ids)
        for count in most[most > 0].unique().tolist():  # a transductive method shall see these rows and no others
            here = (most == count).nonzero().squeeze(1)
            query = _rows(support.support[here], place[here, :count])
            method[here, :count] = self.predict_alone(self.adapt_alone(_some(rest, here)), query)
        rows = _rows(known.support, place)
        means = class_means_of(known, left)
        far = _sharpness(known, left) * (2 * product(rows, means.mT) - means.square().sum(-1).unsqueeze(1))
        seen = torch.stack([method, self._scale(known) * product(rows, known.text.mT), far], -1).double()
        target = _rows(known.one_hot, place) * asked.gather(1, place).unsqueeze(-1)
        return seen.masked_fill(known.absent.view(len(seen), 1, -1, 1), -torch.inf), target.double()


def check_words(words: float) -> None:
    """Refuse a weight of the words that is none.

    Raises:
        ValueError: it is below zero, or not finite.
    """
    if not 0 <= words < float("inf"):
        raise ValueError(f"words={words!r}; it must be at least 0 and finite (0: the method alone).")


def class_means_of(known: TextState, one_hot: Tensor) -> Tensor:
    """Class means ``[E, N, D]`` of the rows that count; that of all rows for a class without."""
    shots = one_hot.sum(1).unsqueeze(-1)  # [E, N, 1]
    middle = known.support.sum(1, keepdim=True) / known.one_hot.sum((1, 2)).clamp(min=1).view(-1, 1, 1)
    return torch.where(shots > 0, product(one_hot.mT, known.support) / shots.clamp(min=1), middle)


def _sharpness(known: TextState, one_hot: Tensor) -> Tensor:
    return sharpness_of_means(one_hot.sum(1), spread_of_rows(known))


def _first(chosen: Tensor, count: int) -> Tensor:
    """Places of the rows that are chosen, and then of others ``[E, count]``."""
    return chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]


def _rows(rows: Tensor, place: Tensor) -> Tensor:
    return rows.gather(1, place.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))


def _some(support: Support, chosen: Tensor) -> Support:
    """Some of the tasks."""
    if len(chosen) == len(support):
        return support
    return Support(
        support.support[chosen],
        support.labels[chosen],
        way=support.way,
        text=None if support.text is None else support.text[chosen],
        ids=None if support.ids is None else support.ids[chosen],
    )
