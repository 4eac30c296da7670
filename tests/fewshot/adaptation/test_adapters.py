"""Domain adapters against plain NumPy, peers where they are installed, and what must hold of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from references import adaptation as reference
from torch import Tensor

from episodes import CrossDomainSampler, Episode, TensorSource, evaluate
from fewshot import load_learner
from fewshot.adaptation import AdaptationWarning, DomainAdapter, effective_sample_size
from fewshot.adaptation.adapter import AdaptedPipeline
from fewshot.adaptation.weighting import InstanceWeights
from fewshot.transforms import Pipeline, list_transforms, load_transform

NAMES = [name for name in list_transforms() if isinstance(load_transform(name), DomainAdapter)]
WAY = 3


def domains(e: int = 2, s: int = 24, u: int = 30, d: int = 6, shift: float = 1.0) -> tuple[Episode, Tensor]:
    """Episodes whose queries and unlabelled rows are turned, stretched and shifted against the support."""
    g = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(e, WAY, d, generator=g, dtype=torch.float64)
    labels, answers = torch.arange(s) % WAY, torch.arange(u) % WAY
    support = means[:, labels] + torch.randn(e, s, d, generator=g, dtype=torch.float64)
    target = means[:, answers] + torch.randn(e, u, d, generator=g, dtype=torch.float64)
    mix = torch.eye(d) + 0.3 * torch.randn(d, d, generator=g)
    target = target @ mix.double() + shift * torch.randn(d, generator=g, dtype=torch.float64)
    return Episode(support, labels.expand(e, s), target, way=WAY), answers.expand(e, u)


def aligned(spec: str, episode: Episode) -> tuple[Episode, Tensor]:
    """What a learner behind the adapter learns from, and its target rows."""
    adapter = load_transform(spec)
    assert isinstance(adapter, DomainAdapter)
    ask = load_learner("nearest")
    learned, state = adapter.align(
        episode.without_query(), episode.query, lambda task, rows: ask.predict(ask.adapt(task), rows)
    )
    return learned, adapter(episode.query, state)


def up_to_signs(a: np.ndarray, b: np.ndarray) -> None:
    """Equal matrices of inner products: axes may point either way."""
    np.testing.assert_allclose(a @ a.T, b @ b.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("wide", [False, True])  # more rows than features, and fewer
class TestAgainstNumPy:
    def episode(self, wide: bool) -> Episode:
        return domains(d=50)[0] if wide else domains()[0]

    def test_coral(self, wide: bool) -> None:
        episode = self.episode(wide)
        learned, rows = aligned("coral(shrinkage=0.2)", episode)
        for e in range(2):
            expected = reference.coral(episode.support[e].numpy(), episode.query[e].numpy(), 0.2)
            np.testing.assert_allclose(learned.support[e].numpy(), expected, rtol=1e-6, atol=1e-8)
        assert torch.equal(rows, episode.query)

    def test_coral_shrinks_as_ledoit_and_wolf(self, wide: bool) -> None:
        from sklearn.covariance import ledoit_wolf_shrinkage

        from fewshot.adaptation.moments import shrunk, target_of

        rows = self.episode(wide).query
        for e in range(2):
            share = ledoit_wolf_shrinkage(rows[e].numpy())
            covariance = shrunk(target_of(rows[e : e + 1]), "auto")
            mean = np.trace(np.cov(rows[e].numpy(), rowvar=False, ddof=0)) / rows.shape[-1]
            assert float(covariance.base) == pytest.approx(share * mean, rel=1e-6)

    def test_subspace_alignment(self, wide: bool) -> None:
        episode = self.episode(wide)
        learned, rows = aligned("subspace-alignment(dim=4)", episode)
        for e in range(2):
            source, target = reference.subspace_alignment(episode.support[e].numpy(), episode.query[e].numpy(), 4)
            up_to_signs(torch.cat([learned.support[e], rows[e]]).numpy(), np.concatenate([source, target]))

    def test_tca(self, wide: bool) -> None:
        episode = self.episode(wide)
        learned, rows = aligned("tca(dim=4, reg=0.7)", episode)
        for e in range(2):
            xs, xt = episode.support[e].numpy(), episode.query[e].numpy()
            axes = reference.components(xs, xt, [reference.domain_gap(len(xs), len(xt))], 0.7, 4)
            up_to_signs(torch.cat([learned.support[e], rows[e]]).numpy(), np.concatenate([xs, xt]) @ axes)

    def test_jda(self, wide: bool) -> None:
        episode = self.episode(wide)
        learned, rows = aligned("jda(dim=4, rounds=3)", episode)
        for e in range(2):
            xs, xt = episode.support[e].numpy(), episode.query[e].numpy()
            axes = reference.jda(xs, episode.labels[e].numpy(), xt, WAY, 1.0, 4, 3)
            up_to_signs(torch.cat([learned.support[e], rows[e]]).numpy(), np.concatenate([xs, xt]) @ axes)

    @pytest.mark.parametrize("group", [0.0, 0.2])
    @pytest.mark.parametrize("rows", [(24, 30), (30, 24)])  # the solver works on the smaller side
    def test_optimal_transport(self, wide: bool, group: float, rows: tuple[int, int]) -> None:
        episode = domains(s=rows[0], u=rows[1], d=50 if wide else 6)[0]
        learned, _ = aligned(f"optimal-transport(reg=0.2, group={group})", episode)
        for e in range(2):
            labels = episode.labels[e].numpy()
            xs, xt = episode.support[e].numpy(), episode.query[e].numpy()
            expected = reference.optimal_transport(xs, labels, xt, 0.2, group, WAY)
            np.testing.assert_allclose(learned.support[e].numpy(), expected, atol=1e-5 if group else 1e-6)

    def test_optimal_transport_in_single_precision(self, wide: bool) -> None:
        """Masses of a hundred and tenth add up on both sides, so that the plan converges (warnings are errors)."""
        episode = domains(s=50, u=44, d=50 if wide else 6)[0]
        single = episode.replace(support=episode.support.float(), query=episode.query.float())
        found = aligned("optimal-transport(reg=0.2)", single)[0].support
        expected = aligned("optimal-transport(reg=0.2)", episode)[0].support
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)

    def test_kmm(self, wide: bool) -> None:
        episode = self.episode(wide)
        weights = load_transform("kmm").weigh(episode.support, episode.labels >= 0, episode.query)  # type: ignore
        for e in range(2):
            xs, xt = episode.support[e].numpy(), episode.query[e].numpy()
            np.testing.assert_allclose(weights[e].numpy(), reference.kmm(xs, xt, 10.0), atol=1e-5)
            best = reference.kmm_objective(reference.kmm(xs, xt, 10.0), xs, xt)
            assert reference.kmm_objective(weights[e].numpy(), xs, xt) <= best + 1e-7

    def test_kliep(self, wide: bool) -> None:
        episode = self.episode(wide)
        adapter = load_transform("kliep")
        weights = adapter.weigh(episode.support, episode.labels >= 0, episode.query)  # type: ignore[operator]
        assert weights.mean(1).tolist() == pytest.approx([1, 1])
        # The weight function itself, asked of the target: adapters weigh any rows.
        both = torch.cat([episode.support, episode.query], 1)
        known = torch.arange(both.shape[1]).expand(2, -1) < episode.support.shape[1]
        for e in range(2):
            xs, xt = episode.support[e].numpy(), episode.query[e].numpy()
            best = reference.kliep_likelihood(xt, xs, xt)
            found = _kliep_of(both[e : e + 1], known[e : e + 1], episode.query[e : e + 1])
            assert found == pytest.approx(best, abs=1e-5)


def _kliep_of(both: Tensor, known: Tensor, target: Tensor) -> float:
    """The mean log weight that the fitted function gives the target rows, as a mixture in its shares."""
    from fewshot.adaptation.density_ratio import _mixture
    from fewshot.adaptation.weighting import kernel_width

    source = both[known].unsqueeze(0)
    h = kernel_width(source, known[known].unsqueeze(0), target)
    level = (-torch.cdist(source, target).square() / h).exp().mean(1, keepdim=True)
    density = (-torch.cdist(target, target).square() / h).exp() / level
    return float((density @ _mixture(density).unsqueeze(-1)).log().mean())


class TestPeers:
    def test_optimal_transport(self) -> None:
        ot = pytest.importorskip("ot")
        episode = domains(s=23, u=31)[0]  # an odd number of distances has one median
        learned, _ = aligned("optimal-transport(reg=0.2)", episode)
        for e in range(2):
            peer = ot.da.SinkhornTransport(reg_e=0.2, norm="median", max_iter=10_000, tol=1e-12)
            peer.fit(Xs=episode.support[e].numpy(), Xt=episode.query[e].numpy())
            expected = peer.transform(Xs=episode.support[e].numpy())
            np.testing.assert_allclose(learned.support[e].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def pipeline(self, name: str):  # type: ignore[no-untyped-def]
        return load_learner(f"{name} | logistic")

    def test_episodes_do_not_mix(self, name: str) -> None:
        episode, _ = domains(3)
        together = self.pipeline(name)(episode)
        alone = torch.cat([self.pipeline(name)(one) for one in episode])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)

    def test_padding_does_not_count(self, name: str) -> None:
        episode, _ = domains()
        padded = episode.replace(
            support=torch.cat([episode.support, torch.full_like(episode.support[:, :5], 3e3)], 1),
            labels=torch.cat([episode.labels, torch.full((2, 5), -1)], 1),
        )
        torch.testing.assert_close(self.pipeline(name)(padded), self.pipeline(name)(episode), rtol=1e-4, atol=1e-5)

    def test_order_of_rows_does_not_count(self, name: str) -> None:
        if name in ("density-ratio", "kliep"):
            pytest.skip("folds and centres go by place")
        episode, _ = domains()
        order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
        shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
        torch.testing.assert_close(self.pipeline(name)(shuffled), self.pipeline(name)(episode), rtol=1e-4, atol=1e-4)

    def test_no_shift_no_harm(self, name: str) -> None:
        episode, answers = domains(4, s=60, u=60)
        g = torch.Generator().manual_seed(2)
        rows = episode.support + 0.1 * torch.randn(episode.support.shape, generator=g, dtype=torch.float64)
        episode, answers = episode.replace(query=rows), episode.labels
        plain = (load_learner("logistic")(episode).argmax(-1) == answers).double().mean()
        adapted = (self.pipeline(name)(episode).argmax(-1) == answers).double().mean()
        assert adapted >= plain - 0.05

    def test_unlabelled_rows_stand_for_the_target(self, name: str) -> None:
        episode, _ = domains()
        given = episode.replace(unlabelled=episode.query)
        expected = self.pipeline(name)(episode)
        torch.testing.assert_close(self.pipeline(name)(given), expected)
        few = given.replace(query=given.query[:, :4])  # and then queries may be few
        torch.testing.assert_close(self.pipeline(name)(few), expected[:, :4], rtol=1e-5, atol=1e-6)

    def test_spec(self, name: str) -> None:
        assert repr(load_learner(f"l2 | {name} | logistic")) == f"l2 | {name} | logistic"


def test_a_shift_is_undone() -> None:
    episode, answers = domains(8, shift=6.0)

    def accuracy(spec: str) -> float:
        return float((load_learner(spec)(episode).argmax(-1) == answers).double().mean())

    assert accuracy("domain-centre | logistic") > accuracy("logistic") + 0.2
    assert accuracy("coral | logistic") > accuracy("logistic") + 0.2
    assert accuracy("domain-standardise | logistic") > accuracy("logistic") + 0.2


def test_episodes_of_two_domains_through_evaluate() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat_interleave(40)
    domain = torch.arange(40).repeat(5) // 20
    rows = torch.randn(5, 8, generator=g)[labels] * 2 + torch.randn(200, 8, generator=g)
    rows = rows + domain.unsqueeze(1) * torch.tensor([8.0, 0, 0, 0, 0, 0, 0, 0])
    source = TensorSource(rows, labels, name="two")
    sampler = CrossDomainSampler(labels, domain, way=3, shot=5, query=5, unlabelled=10, name="two")
    result = evaluate(["logistic", "domain-centre | logistic"], source, sampler, episodes=50)
    plain, adapted = (result[name].mean for name in result)
    assert adapted > plain + 0.05
    drawn = sampler.draw(0, 50)
    assert drawn.unlabelled is not None and drawn.unlabelled.shape == (50, 30)
    assert bool((domain[drawn.unlabelled] == 1).all()) and bool((domain[drawn.support] == 0).all())
    for e in range(50):
        assert not set(drawn.unlabelled[e].tolist()) & set(drawn.query[e].tolist())


class TestRefusals:
    def test_weights_for_a_learner_without(self) -> None:
        with pytest.raises(ValueError, match=r"kmm weighs the source rows, but nearest cannot"):
            load_learner("kmm | nearest")

    def test_a_pipeline_that_does_not_show_the_target(self) -> None:
        with pytest.raises(ValueError, match=r"coral looks at rows of the target.*load_learner"):
            Pipeline([load_transform("coral")], load_learner("nearest"))

    def test_text(self) -> None:
        with pytest.raises(ValueError, match="uses class text"):
            load_learner("coral | tip-adapter")

    @pytest.mark.parametrize(
        "spec",
        ["coral(shrinkage=2.0)", "tca(reg=0.0)", "optimal-transport(reg=-1.0)", "pseudo-labels(share=0.0)",
         "kmm(bound=0.0)", "density-ratio(clip=0.0)", "subspace-alignment(dim=0)"],
    )  # fmt: skip
    def test_arguments(self, spec: str) -> None:
        with pytest.raises(ValueError, match=r"must be|at least"):
            load_transform(spec)

    def test_weights_that_rest_on_a_handful_are_said(self) -> None:
        class OneRow(InstanceWeights):
            name = "one-row"

            def weigh(self, source: Tensor, known: Tensor, target: Tensor) -> Tensor:
                return torch.nn.functional.one_hot(torch.zeros(len(source), dtype=torch.long), source.shape[1]).double()

        episode, _ = domains(2, s=24)
        with pytest.warns(AdaptationWarning, match=r"in 2 of 2 episodes .* fewer than 5% .*least 4.2%"):
            AdaptedPipeline([OneRow()], load_learner("prototypes"))(episode)


def test_effective_sample_size() -> None:
    assert effective_sample_size(torch.tensor([[2.0, 2.0, 0.0]])).tolist() == [2.0]
    assert effective_sample_size(torch.zeros(1, 3)).tolist() == [0.0]
