"""Zero-shot: the class whose words are nearest to the query."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.learner import Learner
from fewshot.maths.linalg import normalize, product
from fewshot.maths.text_head import cosines, read_text, without

COMBINATIONS = ("vectors", "marginal", "autoclip")
SIMILARITIES = ("cosine", "product")
_BISECTIONS = 30


class ZeroShotState(NamedTuple):
    """Unit vectors of the classes, and under each template where those are given."""

    text: Tensor  # [E, N, D]
    each: Tensor  # [E, N, T, D], T = 0 where there is one vector per class
    absent: Tensor  # [E, N]


class ZeroShot(Learner):
    """Classifies by the cosine with the text vector of each class: ``logits = scale cos(q, t_n)``.

    The support, if there is any, is not looked at. Where ``Episode.text`` holds a vector per template
    ``[E, N, T, D]``, they are combined by

    - ``"vectors"``: ``t_n = normalise(mean_t t_nt)``, the usual ensemble;
    - ``"marginal"``: templates as contexts z that the image itself weighs, ``P(y|q) = Σ_z P(z|q) P(y|q, z)`` with
      ``P(z|q) ∝ mean_y exp(scale cos(q, t_yz))``; logits are ``log P``;
    - ``"autoclip"``: one step towards the templates that agree on this image, kept so even that their entropy is
      `evenness` of the largest possible.

    Args:
        scale: factor on cosines; that of the model (100 for OpenAI's and LAION's CLIP).
        combine: one of these.
        evenness: of ``"autoclip"``, 0..1.
        similarity: ``"cosine"``; or ``"product"``: ``logits = scale q·t_n``, for rows that are scores of sentences and
            class text that says how much each counts (`fewshot.prompts.class_scores`).

    Raises:
        ValueError: an unknown combination, or a number out of range.

    Reference: Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021,
    arXiv:2103.00020. An et al., "PerceptionCLIP: visual classification by inferring and conditioning on contexts",
    ICLR 2024, arXiv:2308.01313; Metzen et al., "AutoCLIP: auto-tuning zero-shot classifiers for vision-language
    models", TMLR 2024, arXiv:2309.16414.

    Example:
        >>> import torch
        >>> from episodes import Episode
        >>> rows = torch.eye(3)[None]  # an example of each class, and the vector of its name
        >>> query = torch.tensor([[[0.3, 0.7, 0.2]]])
        >>> episode = Episode(rows, torch.tensor([[0, 1, 2]]), query, way=3, text=rows)
        >>> ZeroShot()(episode).argmax(-1)
        tensor([[1]])
    """

    name: ClassVar[str] = "zero-shot"
    needs = ("text",)
    invariant = ("scale",)

    def __init__(
        self, scale: float = 100.0, combine: str = "vectors", evenness: float = 0.85, similarity: str = "cosine"
    ) -> None:
        super().__init__()
        if combine not in COMBINATIONS:
            raise ValueError(f"combine={combine!r}; it must be one of {', '.join(COMBINATIONS)}.")
        if similarity not in SIMILARITIES or (similarity == "product" and combine != "vectors"):
            raise ValueError(
                f"similarity={similarity!r} with combine={combine!r}; it must be one of {', '.join(SIMILARITIES)}, the "
                "latter with combine='vectors'."
            )
        if scale <= 0 or not 0 < evenness < 1:
            raise ValueError(f"scale={scale}, evenness={evenness}; the scale must be positive, evenness in 0..1.")
        self.scale = scale
        self.combine = combine
        self.evenness = evenness
        self.similarity = similarity

    def adapt(self, support: Support) -> ZeroShotState:
        """Normalise the text."""
        known, text = read_text(support), support.text
        assert text is not None
        if self.similarity == "product":
            whole = text.mean(2) if text.ndim == 4 else text
            return ZeroShotState(whole, text.new_zeros(*whole.shape[:2], 0, whole.shape[-1]), known.absent)
        each = normalize(text, dim=-1) if text.ndim == 4 else text.new_zeros(*text.shape[:2], 0, text.shape[-1])
        return ZeroShotState(known.text, each, known.absent)

    def predict(self, state: ZeroShotState, query: Tensor) -> Tensor:
        """Score the queries against the text."""
        if self.similarity == "product":
            return without(self.scale * product(query, state.text.mT), state.absent)
        if self.combine == "vectors" or state.each.shape[2] < 2:
            return without(self.scale * cosines(query, state.text), state.absent)
        episodes, ways, templates, _ = state.each.shape
        scores = product(normalize(query, dim=-1), state.each.flatten(1, 2).mT)  # [E, Q, N T]
        scores = self.scale * scores.view(episodes, -1, ways, templates)
        scores = scores.masked_fill(state.absent[:, None, :, None], -torch.inf)  # [E, Q, N, T]
        if self.combine == "marginal":
            context = (scores.logsumexp(2)).log_softmax(-1)  # [E, Q, T]
            return (scores.log_softmax(2) + context.unsqueeze(2)).logsumexp(-1)
        return self._autoclip(scores, state.absent)

    def _autoclip(self, scores: Tensor, absent: Tensor) -> Tensor:
        """Closed form of one gradient step on the templates' weights, its length found by bisection."""
        templates = scores.shape[-1]
        finite = scores.masked_fill(absent[:, None, :, None], 0.0)
        share = scores.mean(-1).softmax(-1)  # [E, Q, N]
        agreement = (share.unsqueeze(-1) * finite).sum(2)  # [E, Q, T]
        gradient = (agreement - agreement.mean(-1, keepdim=True)) / templates
        wanted = self.evenness * torch.log(torch.tensor(float(templates)))
        low = torch.zeros_like(gradient[..., :1])
        high = 1e3 / gradient.abs().amax(-1, keepdim=True).clamp(min=1e-9)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            weights = (middle * gradient).softmax(-1)
            even = -(weights * weights.clamp(min=1e-30).log()).sum(-1, keepdim=True) > wanted
            low, high = torch.where(even, middle, low), torch.where(even, high, middle)
        weights = (low * gradient).softmax(-1)  # [E, Q, T]
        return without((finite * weights.unsqueeze(2)).sum(-1), absent)
