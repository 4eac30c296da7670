"""Support of one domain, queries of another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_examples import UNEQUAL

from episodes import CrossDomainSampler, TensorSource
from episodes.samplers.cross_domain import join


class TestCrossDomain:
    def test_support_and_query_are_of_their_domains(self) -> None:
        domains = np.arange(len(UNEQUAL)) % 3
        drawn = CrossDomainSampler(UNEQUAL, domains, 3, 2, 4, support_domain=2, query_domain=0).draw(0, 100)
        assert set(domains[drawn.support.numpy()].ravel()) == {2}
        assert set(domains[drawn.query.numpy()].ravel()) == {0}

    @pytest.mark.parametrize("domain", [0, 1])
    def test_one_domain_for_both_never_asks_what_was_learned(self, domain: int) -> None:
        domains = np.arange(len(UNEQUAL)) % 2
        sampler = CrossDomainSampler(UNEQUAL, domains, 3, 2, 4, support_domain=domain, query_domain=domain)
        drawn = sampler.draw(0, 300)
        assert set(domains[drawn.rows.numpy()].ravel()) == {domain}
        rows = drawn.rows.sort(1).values
        assert (rows[:, 1:] > rows[:, :-1]).all(), "a support row is among the queries"
        truth = torch.from_numpy(UNEQUAL)
        assert torch.equal(truth[drawn.query], drawn.classes.gather(1, drawn.targets))
        with pytest.raises(
            ValueError, match=r"domain 1 of the dataset' has 0 classes with at least shot \+ query = 50"
        ):
            CrossDomainSampler(UNEQUAL, domains, 3, 5, 45, support_domain=1)

    def test_domains_are_one_integer_for_each_row(self) -> None:
        for domains in ([0, 1], np.full(len(UNEQUAL), 0.5), ["a"] * len(UNEQUAL)):
            with pytest.raises(ValueError, match=r"they must be integers \[M\] with M=312"):
                CrossDomainSampler(UNEQUAL, domains)

    def test_it_says_what_is_lacking(self) -> None:
        with pytest.raises(ValueError, match="has 0 classes with at least shot=1 rows in domain 0 and query=50"):
            CrossDomainSampler(UNEQUAL, np.arange(len(UNEQUAL)) % 2, 3, 1, 50)

    def test_sources_are_joined_by_class_name(self) -> None:
        one = TensorSource(torch.zeros(4, 2), [0, 1, 2, 2], ["a", "b", "c"], name="one")
        two = TensorSource(torch.ones(3, 2), [1, 0, 1], ["c", "b"], name="two")
        both, domains = join(one, two)
        assert both.class_names == ["b", "c"]
        assert both.labels.tolist() == [0, 1, 1, 1, 0, 1] or both.labels.tolist() == [0, 1, 1, 0, 1, 0]
        assert domains.tolist() == [0, 0, 0, 1, 1, 1]
        with pytest.raises(ValueError, match="share no class name"):
            join(one, TensorSource(torch.ones(1, 2), [0], ["z"], name="three"))
        with pytest.raises(ValueError, match="rows have shapes"):
            join(one, TensorSource(torch.ones(1, 3), [0], ["a"]))
