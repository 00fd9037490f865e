"""The sequential kernel against its slow twin, choice by choice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.greedy import greedy
from kernels.pairs import Supply
from tests import naive
from tests.kernels.tables import KINDS, Tables, fresh, instances, tables


def decide(t: Tables, normalized: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, Supply]:
    """Offers, scores, stages and what is left."""
    n = t.requests.hours.size
    offer, stage = np.empty(n, np.int32), np.empty(n, np.int32)
    score = np.empty(n)
    supply = fresh(t.supply)
    greedy(t.offers, t.requests, supply, normalized, offer, score, stage)
    return offer, score, stage, supply


@settings(deadline=None)
@given(instances(), st.booleans())
def test_greedy_makes_the_plain_loops_choices(t: Tables, normalized: bool) -> None:
    """Offers, scores and what is left are the plain loop's, bit for bit."""
    offer, score, _, supply = decide(t, normalized)
    expected_supply = fresh(t.supply)
    expected = naive.greedy(t.offers, t.requests, expected_supply, normalized)

    assert (offer.tolist(), score.tolist()) == expected
    assert supply.left.tolist() == expected_supply.left.tolist()
    assert supply.budget.tolist() == expected_supply.budget.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_never_overspends(kind: str) -> None:
    """Pools and budgets never fall below zero."""
    _, _, _, supply = decide(tables(3, kind, n=500), False)

    assert supply.left.min() >= 0
    assert supply.budget.min() >= 0


def test_refusals_say_how_far_they_came() -> None:
    """Stage 1 where the pool is short, 2 where only the budget is, 0 where limits exclude all."""
    t = tables(1, n=3, m=1, budgets=1)
    one = np.zeros(3, np.int32)
    offers = t.offers._replace(
        start=np.array([0, 1]), offer=one[:1], pool=one[:1], price=np.ones(1),
        latency=np.ones(1), reputation=np.ones(1),
    )  # fmt: skip
    requests = t.requests._replace(
        group=one, hours=np.array([9.0, 2.0, 1.0]), max_price=np.array([2, 2, 0.5]),
        max_latency=np.full(3, np.inf), min_reputation=np.full(3, -np.inf), tenant=one,
    )  # fmt: skip
    supply = t.supply._replace(left=np.array([5.0]), total=np.array([5.0]), budget=np.ones(1))
    _, _, stage, _ = decide(t._replace(offers=offers, requests=requests, supply=supply), False)

    assert stage.tolist() == [1, 2, 0]
