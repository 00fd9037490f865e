"""The kernel of remedies against its slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import pairs
from kernels.pairs import Supply
from kernels.remedies import Objective, Stakes, remedies
from tests import naive
from tests.kernels.tables import Tables, instances, tables


def market_of(t: Tables, seed: int, normalized: bool) -> tuple[Supply, Stakes]:
    """Return what a batch may have left of the supply, and prices of which some are zero."""
    rng = np.random.default_rng(seed)
    n = t.requests.hours.size
    offer, best = np.empty(n, np.int32), np.empty(n)
    pairs.best_pairs(t.offers, t.requests, t.supply, normalized, offer, best)
    scale = float(np.median(t.requests.hours)) if n else 1.0
    spent = [x * np.where(rng.random(x.size) < 0.3, 1.0, rng.random(x.size)) for x in t.supply]
    dear = [np.where(rng.random(x.size) < 0.5, 0.0, rng.uniform(0, 3, x.size)) for x in t.supply]
    return (
        Supply(spent[0], t.supply.total, spent[2]),
        Stakes(rng.choice([0.5, 1.0, 2.0], n), best, dear[0] / scale, dear[2] / scale),
    )


@settings(deadline=None)
@given(
    instances(), st.integers(0, 2**32 - 1), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_remedies_are_those_of_the_plain_loop(
    t: Tables, seed: int, normalized: bool, per_request: bool, reward: float
) -> None:
    """Constraint and offer of every request are the plain loop's, ties to the first listed."""
    after, stakes = market_of(t, seed, normalized)
    terms = Objective(reward, per_request, normalized, pairs.GPU_EFFORT, pairs.REGION_EFFORT)
    rows = np.arange(t.requests.hours.size)
    kind, offer = remedies(t.blocks, t.requests, t.supply, after, stakes, terms, rows)

    for i in rows.tolist():
        expected = naive.remedy(t.blocks, t.requests, t.supply, after, stakes, terms, i)
        assert (kind[i], offer[i]) == expected


@pytest.mark.parametrize("kind", ["ordinary", "huge", "scarce"])
def test_the_twins_meet_every_kind_of_remedy(kind: str) -> None:
    """The instances above hold remedies of all sorts, and requests without any."""
    seen: set[int] = set()
    for seed in range(30):
        t = tables(seed, kind, n=200)
        after, stakes = market_of(t, seed, False)
        terms = Objective(1.0, True, False, pairs.GPU_EFFORT, pairs.REGION_EFFORT)
        rows = np.arange(200)
        seen |= {*remedies(t.blocks, t.requests, t.supply, after, stakes, terms, rows)[0].tolist()}

    assert seen == {-1, *range(pairs.N_CONSTRAINTS)}


def test_an_offer_that_is_closed_is_no_remedy() -> None:
    """What is not active is never named."""
    t = tables(11, n=60)
    after, stakes = market_of(t, 11, False)
    terms = Objective(1.0, True, False, pairs.GPU_EFFORT, pairs.REGION_EFFORT)
    rows = np.arange(60)
    blocks = t.blocks._replace(active=np.zeros_like(t.blocks.active))
    kind, offer = remedies(blocks, t.requests, t.supply, after, stakes, terms, rows)

    assert set(kind.tolist()) == set(offer.tolist()) == {-1}
