"""Pair kernels against their slow twins, bit for bit."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import pairs
from tests import naive
from tests.kernels.tables import Tables, instances, tables


def rows_of(t: Tables, normalized: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row pointers, table rows and scores of all feasible pairs."""
    counts = pairs.count_pairs(t.offers, t.requests, t.supply)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    position, score = np.empty(indptr[-1], np.int32), np.empty(indptr[-1])
    pairs.score_rows(
        t.offers, t.requests, t.supply, normalized, np.arange(counts.size), indptr, position, score
    )
    return indptr, position, score


@settings(deadline=None)
@given(instances(), st.booleans())
def test_rows_are_the_feasible_pairs_of_the_plain_loop(t: Tables, normalized: bool) -> None:
    """Rows hold exactly the plain loop's feasible pairs, in its order, with its scores."""
    indptr, position, score = rows_of(t, normalized)

    for i in range(t.requests.hours.size):
        expected = naive.feasible_pairs(t.offers, t.requests, t.supply, normalized, i)
        low, high = indptr[i], indptr[i + 1]
        assert position[low:high].tolist() == [p.position for p in expected]
        assert score[low:high].tolist() == [p.score for p in expected]


@settings(deadline=None)
@given(instances(), st.booleans())
def test_best_pair_is_the_plain_loops_choice(t: Tables, normalized: bool) -> None:
    """The blocked kernel picks the plain loop's best offer, ties to the first, with its score."""
    n = t.requests.hours.size
    offer, score = np.empty(n, np.int32), np.empty(n)
    pairs.best_pairs(t.offers, t.requests, t.supply, normalized, offer, score)

    for i in range(n):
        top = naive.best(naive.feasible_pairs(t.offers, t.requests, t.supply, normalized, i))
        assert (offer[i], score[i]) == ((top.offer, top.score) if top else (-1, -1.0))


def test_best_pair_spans_many_blocks_of_a_class() -> None:
    """A class larger than a block of the kernel is decided like a small one."""
    t = tables(7, n=3 * pairs.BLOCK + 5)
    one_class = t.requests._replace(group=np.zeros_like(t.requests.group))
    n = one_class.hours.size
    offer, score = np.empty(n, np.int32), np.empty(n)
    pairs.best_pairs(t.offers, one_class, t.supply, False, offer, score)

    tops = [
        naive.best(naive.feasible_pairs(t.offers, one_class, t.supply, False, i)) for i in range(n)
    ]
    assert offer.tolist() == [top.offer if top else -1 for top in tops]


@settings(deadline=None)
@given(instances(), st.integers(1, 4))
def test_shortened_rows_keep_the_best_pairs(t: Tables, most: int) -> None:
    """Shortened rows hold the best `most` pairs in fleet order and name the best one left out."""
    indptr, position, score = rows_of(t, False)
    before = [
        list(zip(position[a:b].tolist(), score[a:b].tolist(), strict=True))
        for a, b in pairwise(indptr)
    ]
    short = np.empty_like(indptr)
    rest = pairs.keep_best(indptr, position, score, most, short)

    for i, row in enumerate(before):
        ranked = sorted(row, key=lambda pair: -pair[1])
        kept = slice(short[i], short[i + 1])
        assert list(zip(position[kept], score[kept], strict=True)) == sorted(ranked[:most])
        assert rest[i] == (ranked[most][1] if len(ranked) > most else -1.0)


@settings(deadline=None)
@given(instances(), st.integers(0, 3))
def test_next_best_lists_the_others_best_first(t: Tables, top: int) -> None:
    """Alternatives are the other feasible pairs, best first, ties to the first listed."""
    indptr, position, score = rows_of(t, False)
    n = t.requests.hours.size
    chosen, best = np.empty(n, np.int32), np.empty(n)
    pairs.best_pairs(t.offers, t.requests, t.supply, False, chosen, best)
    other, other_score = np.empty((n, top), np.int32), np.empty((n, top))
    offers = t.offers.offer[position]
    own = pairs.next_best(offers, score, indptr, chosen, other, other_score)

    for i in range(n):
        row = naive.feasible_pairs(t.offers, t.requests, t.supply, False, i)
        others = sorted((p for p in row if p.offer != chosen[i]), key=lambda p: -p.score)[:top]
        assert own[i] == best[i]
        assert other[i].tolist() == [p.offer for p in others] + [-1] * (top - len(others))
        assert other_score[i].tolist() == [p.score for p in others] + [-1] * (top - len(others))


@settings(deadline=None)
@given(instances())
def test_block_reasons_name_the_least_single_relaxation(t: Tables) -> None:
    """Each reason is the least change that alone suffices; without one, the nearest offer's all."""
    n, m = t.requests.hours.size, t.blocks.price.size
    rows = np.arange(n)
    at, effort, stage = pairs.block_reasons(t.blocks, t.requests, t.supply, rows)

    for i in range(n):
        found = [naive.blocking(t.blocks, t.requests, t.supply, i, j) for j in range(m)]
        single = [
            min((f[c] for f in found if list(f) == [c]), default=None)
            for c in range(pairs.N_CONSTRAINTS)
        ]
        reached = [
            1 + (5 not in f) * (1 + (6 not in f)) for f in found if not set(f) & {0, 1, 2, 3, 4}
        ]
        assert stage[i] == max(reached, default=0)
        if any(s is not None for s in single):
            expected = [0.0 if s is None else max(s, 1e-300) for s in single]
            np.testing.assert_allclose(effort[i], expected, rtol=1e-12)
        elif all(found):
            nearest = min(found, key=lambda f: sum(f.values()))
            assert set(np.flatnonzero(at[i] >= 0).tolist()) == set(nearest)


@settings(deadline=None)
@given(instances(), st.booleans(), st.sampled_from([0.0, 1.0, 2.5]))
def test_values_and_costs_follow_the_objective(t: Tables, scaled: bool, reward: float) -> None:
    """Value is worth x (reward + score, or score over the row's best); cost is price x hours."""
    indptr, position, score = rows_of(t, False)
    offers = t.offers.offer[position]
    best = pairs.best_of_rows(indptr, score)
    worth = 1.0 + np.arange(best.size) % 3
    value = pairs.value_rows(indptr, score, best, worth, reward, scaled)
    cost = pairs.cost_rows(indptr, offers, t.blocks.price, t.requests.hours)

    for i in range(best.size):
        for e in range(indptr[i], indptr[i + 1]):
            share = (score[e] / best[i] if best[i] > 0 else 1.0) if scaled else score[e]
            assert value[e] == worth[i] * (reward + share)
            assert cost[e] == t.blocks.price[offers[e]] * t.requests.hours[i]
