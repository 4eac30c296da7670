"""Metrics equal scikit-learn's, say which way is better, and everything that shows scores reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from episodes import EpisodeSampler, Metric, OpenSetSampler, Results, TensorSource, compare, evaluate
from episodes.answers import Answers
from episodes.metrics import METRICS, load_metric


@pytest.fixture
def answers(generator: torch.Generator) -> Answers:
    logits = 2 * torch.randn(20, 30, 5, generator=generator)
    targets = torch.randint(0, 5, (20, 30), generator=generator)
    targets[:, -4:] = -1
    targets[3, targets[3] == 2] = 1  # a class without queries
    return Answers(logits, targets)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_equal_scikit_learn(answers: Answers) -> None:
    found = {name: metric.function(answers) for name, metric in METRICS.items() if not metric.open_set}  # type: ignore[misc]
    for e in range(20):
        scored = answers.targets[e] >= 0
        y, p = answers.targets[e][scored].numpy(), answers.logits[e][scored].softmax(-1).double().numpy()
        p /= p.sum(1, keepdims=True)
        guess = p.argmax(1)
        assert found["accuracy"][e] == pytest.approx(sklearn_metrics.accuracy_score(y, guess))
        assert found["balanced-accuracy"][e] == pytest.approx(sklearn_metrics.balanced_accuracy_score(y, guess))
        assert found["macro-f1"][e] == pytest.approx(sklearn_metrics.f1_score(y, guess, average="macro"))
        assert found["log-loss"][e] == pytest.approx(sklearn_metrics.log_loss(y, p, labels=range(5)), rel=1e-5)
        confidence, right, gap = p.max(1), guess == y, 0.0
        for b in range(15):
            inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
            gap += abs(right[inside].sum() - confidence[inside].sum())
        assert found["ece"][e] == pytest.approx(gap / len(y), abs=1e-6)


def test_a_certain_error_costs_a_bounded_loss() -> None:
    logits = torch.tensor([[[1000.0, -1000.0], [-torch.inf, 0.0]]])
    loss = METRICS["log-loss"].function(Answers(logits, torch.tensor([[1, 0]])))  # type: ignore[misc]
    assert loss.tolist() == pytest.approx([36.04], abs=0.01)


def far(episode):  # type: ignore[no-untyped-def]
    means = episode.one_hot.mT @ episode.support / episode.shots.unsqueeze(-1)
    return torch.cdist(episode.query, means)


def near(episode):  # type: ignore[no-untyped-def]
    return -far(episode)


@pytest.mark.parametrize(
    ("metric", "better"), [("fpr95", "near"), ("auroc", "near"), ("log-loss", "near"), ("ece", "near")]
)
def test_the_better_learner_has_the_star(source: TensorSource, metric: str, better: str) -> None:
    sampler = OpenSetSampler(source.labels, way=3, shot=5, query=10, open_way=3)
    results = evaluate([near, far], source, sampler, episodes=60, metric=metric, progress=False)
    lines = str(results).splitlines()
    starred = [line.split()[0] for line in lines if line.rstrip().endswith("*")]
    assert starred == [better]
    assert lines[0].startswith(METRICS[metric].heading)
    assert metric in lines[0] and "accuracy" not in str(results)
    assert ("lower is better" in lines[0]) is (metric != "auroc")
    found = compare(results["near"], results["far"])
    assert found.wins > found.losses
    assert (found.difference > 0) is (metric == "auroc")
    assert ("lower is better" in str(found)) is (metric != "auroc")


def top_two(answers: Answers) -> torch.Tensor:
    inside = (answers.logits.topk(2, -1).indices == answers.targets.unsqueeze(-1)).any(-1) & answers.known
    return inside.sum(1).double() / answers.known.sum(1)


def test_a_metric_of_ones_own(source: TensorSource, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "runs.jsonl"
    sampler = EpisodeSampler(source.labels, way=5, shot=1, query=6)
    calls = []

    def counted(episode):  # type: ignore[no-untyped-def]
        calls.append(len(episode))
        return near(episode)

    metric = Metric("top-2", top_two)
    accuracy = evaluate({"near": near}, source, sampler, episodes=40, out=out)["near"]
    results = evaluate({"near": near}, source, sampler, episodes=40, metric=metric, out=out)
    assert results["near"].mean > accuracy.mean
    loaded = Results.load(out)
    assert [cell.metric.name for cell in loaded.cells] == ["accuracy", "top-2"]
    again = loaded.select(metric="top-2")["near"]
    np.testing.assert_array_equal(again.scores, results["near"].scores)
    assert again.metric.function is None
    assert "top-2 in %" in str(loaded)
    # Another function of the same name is another metric; the same one is found again.
    evaluate(
        {"near": near},
        source,
        sampler,
        episodes=40,
        metric=Metric("top-2", lambda a: a.right.double().mean(1)),
        out=out,
    )
    evaluate({"near": near}, source, sampler, episodes=40, metric=Metric("top-2", top_two), out=out)
    assert len(out.read_text().splitlines()) == 3
    with pytest.raises(ValueError, match="was read from a file and has no function"):
        evaluate({"near": near}, source, sampler, episodes=2, metric=again.metric)


def test_bad_metrics_are_refused(source: TensorSource) -> None:
    sampler = EpisodeSampler(source.labels, way=5, shot=1, query=6)

    def run(metric: object) -> None:
        evaluate({"near": near}, source, sampler, episodes=4, metric=metric)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"metric='f1'; it must be one of accuracy, .*macro-f1.*or a Metric"):
        run("f1")
    with pytest.raises(ValueError, match="called 'ece', as one of this library; rename it"):
        run(Metric("ece", top_two))
    with pytest.raises(ValueError, match=r"metric 'flat' gave \[4, 30\]; it must give a tensor \[E\] = \[4\]"):
        run(Metric("flat", lambda a: a.confidence))
    with pytest.raises(ValueError, match=r"has many = 30, which is not finite or outside 0 to 1, in episode 0"):
        run(Metric("many", lambda a: a.known.sum(1)))
    run(Metric("many", lambda a: a.known.sum(1), unit="queries", bounds=(0, float("inf"))))
    with pytest.raises(ValueError, match=r"has ratio = inf, which is not finite or outside -inf to inf, in episode 0"):
        run(Metric("ratio", lambda a: a.known.sum(1) * torch.nan, bounds=(-float("inf"), float("inf"))))
    with pytest.raises(ValueError, match="a metric needs a name"):
        Metric("", top_two)
    with pytest.raises(ValueError, match="it must be callable"):
        Metric("x", 3)  # type: ignore[arg-type]


def test_scores_are_written_in_their_unit() -> None:
    loss = load_metric("log-loss")
    assert (loss.written(0.5), loss.written(-0.5, sign=True), loss.heading) == (
        "0.500", "-0.500", "log-loss in nats (lower is better)",
    )  # fmt: skip
    assert METRICS["accuracy"].written_interval(1e-9) == "0.01"
    assert METRICS["accuracy"].written_interval(0.0149) == "1.49"
    assert METRICS["log-loss"].better(0.1, 0.2) and not METRICS["auroc"].better(0.1, 0.2)


def test_the_command_line_offers_them_all() -> None:
    from fewshot.cli.evaluate import METRICS as OFFERED

    assert set(OFFERED) == set(METRICS)
