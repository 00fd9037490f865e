"""Price kernels against loops that compute everything from scratch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import prices
from kernels.prices import Leaders
from kernels.rows import Rows
from tests import naive_allocation as naive
from tests.kernels.allocations import Case, cases

numbers = st.sampled_from([0.0, 0.5, 1.0, 1e-12, 1e9]) | st.floats(0, 10)


def leaders_of(case: Case) -> tuple[np.ndarray, Leaders]:
    """Nets at the budget prices and the leaders at the pool prices."""
    net = prices.charge(case.rows, case.budget_price)
    n = case.rows.start.size - 1
    leaders = Leaders(np.empty((n, 2)), np.empty((n, 2), np.int32))
    prices.lead(case.rows, net, case.price, leaders)
    return net, leaders


@given(
    entries=st.lists(st.tuples(numbers, st.floats(1e-3, 1e6)), max_size=40),
    supply=st.floats(0, 1e7),
)
def test_clear_is_the_smallest_price(entries: list[tuple[float, float]], supply: float) -> None:
    """Selection finds what a scan of all thresholds finds; ties, zeros and huge weights too."""
    threshold, weight = np.array(entries).reshape(-1, 2).T.copy()
    found = prices.clear(threshold.copy(), weight.copy(), threshold.size, supply)

    above = sum(w for t, w in entries if t > found)
    assert found in {0.0, *threshold.tolist()}
    assert above <= supply * (1 + 1e-12)
    lower = [t for t in {0.0, *threshold.tolist()} if t < found]
    if lower:
        assert sum(w for t, w in entries if t > max(lower)) > supply * (1 - 1e-12)


@settings(deadline=None)
@given(weights=st.lists(st.integers(1, 9), max_size=12), supply=st.integers(0, 40))
def test_clear_is_the_twin(weights: list[int], supply: int) -> None:
    """With whole numbers, no rounding: exactly the twin's price."""
    threshold = [float(w * 7 % 5) for w in weights]
    found = prices.clear(np.array(threshold), np.array(weights, np.float64), len(weights), supply)

    assert found == naive.clear(threshold, [float(w) for w in weights], supply)


@settings(max_examples=100, deadline=None)
@given(case=cases)
def test_columns_are_a_stable_sort(case: Case) -> None:
    """Pairs by pool come by ascending request."""
    twin = naive.columns(case.rows, case.supply.capacity.size)

    for own, other in zip(case.columns, twin, strict=True):
        assert own.tolist() == other.tolist()


@settings(max_examples=100, deadline=None)
@given(case=cases)
def test_leaders_are_the_best_two_pools(case: Case) -> None:
    """The best net, and the best in another pool."""
    net, leaders = leaders_of(case)
    first, second = naive.leaders(case.rows, net, case.price)

    assert leaders.net[:, 0].tolist() == first
    assert leaders.net[:, 1].tolist() == second


@settings(max_examples=100, deadline=None)
@given(case=cases)
def test_dual_value_is_the_twins(case: Case) -> None:
    """The dual function, from leaders and from scratch."""
    _, leaders = leaders_of(case)
    found = prices.dual_value(case.supply, case.price, case.budget_price, leaders)
    twin = naive.dual_value(case.rows, case.supply, case.price, case.budget_price)

    assert found == pytest.approx(twin, rel=1e-9, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(case=cases, relax=st.sampled_from([1.0, 1.5]))
def test_sweeps_keep_the_leaders(case: Case, relax: float) -> None:
    """After sweeps with moved prices the leaders are those of the new prices."""
    net, leaders = leaders_of(case)
    price, budget_price = case.price.copy(), case.budget_price.copy()
    owners = prices.by_tenant(case.rows.tenant, budget_price.size)
    reach = np.full(price.size, np.inf)
    for _ in range(3):
        prices.sweep_pools(
            case.rows, case.columns, net, case.supply.capacity, price, reach, relax, leaders
        )
        if case.rows.tenant.size:
            prices.sweep_budgets(case.rows, owners, net, case.supply, price, budget_price, leaders)
    first, second = naive.leaders(case.rows, net, price)

    assert leaders.net[:, 0].tolist() == pytest.approx(first, rel=1e-12, abs=1e-12)
    assert leaders.net[:, 1].tolist() == pytest.approx(second, rel=1e-12, abs=1e-12)
    assert net.tolist() == prices.charge(case.rows, budget_price).tolist()


@settings(max_examples=150, deadline=None)
@given(case=cases)
def test_each_step_is_a_minimum(case: Case) -> None:
    """Without relaxation no sweep raises the dual function, and the last price is a minimum."""
    net, leaders = leaders_of(case)
    price = case.price.copy()
    reach = np.full(price.size, np.inf)
    before = naive.dual_value(case.rows, case.supply, price, case.budget_price)
    for _ in range(2):
        prices.sweep_pools(
            case.rows, case.columns, net, case.supply.capacity, price, reach, 1.0, leaders
        )
        after = naive.dual_value(case.rows, case.supply, price, case.budget_price)
        assert after <= before * (1 + 1e-9) + 1e-9
        before = after

    for factor in (0.0, 0.9, 0.999, 1.001, 1.1) if price.size else ():
        other = price.copy()
        other[-1] = other[-1] * factor + (1e-3 if factor > 1 else 0.0)
        moved = naive.dual_value(case.rows, case.supply, other, case.budget_price)
        assert moved >= before * (1 - 1e-9) - 1e-9


@settings(max_examples=100, deadline=None)
@given(case=cases)
def test_a_budget_step_is_a_minimum(case: Case) -> None:
    """The last budget swept is at a minimum of the dual function."""
    net, leaders = leaders_of(case)
    rows, price, budget_price = case.rows, case.price, case.budget_price.copy()
    if not rows.tenant.size:
        return
    owners = prices.by_tenant(rows.tenant, budget_price.size)
    prices.sweep_budgets(rows, owners, net, case.supply, price, budget_price, leaders)
    best = naive.dual_value(rows, case.supply, price, budget_price)

    for factor in (0.0, 0.9, 1.1):
        other = budget_price.copy()
        other[-1] = other[-1] * factor + (1e-3 if factor > 1 else 0.0)
        assert naive.dual_value(rows, case.supply, price, other) >= best * (1 - 1e-9) - 1e-9


def test_level_clears_all_pools_as_one() -> None:
    """Ten alike requests for three slots: the level is what a slot is worth."""
    start, ones = np.arange(11), np.ones(10)
    index, none = np.arange(10, dtype=np.int32), np.zeros(0, np.int32)
    pool = np.array([0, 1] * 5, np.int32)
    rows = Rows(start, index, pool, 4 * ones, 2 * ones, np.zeros(0), none, 0 * ones)

    assert prices.level(rows, rows.value, np.array([4.0, 2.0])) == 2.0
    assert prices.level(rows, rows.value, np.array([400.0, 2.0])) == 0.0


@settings(max_examples=100, deadline=None)
@given(case=cases, keep=st.integers(1, 4), every=st.integers(1, 3))
def test_trim_keeps_the_best_pairs(case: Case, keep: int, every: int) -> None:
    """The best pairs of each request taken, at the prices, in their order, with their numbers."""
    rows, net = case.rows, prices.charge(case.rows, case.budget_price)
    reduced = net - case.price[rows.pool] * rows.demand
    trimmed = prices.trim(rows, case.budget_price, case.price, keep, every)

    taken = range(0, rows.start.size - 1, every)
    assert trimmed.start.size - 1 == len(taken)
    assert np.array_equal(trimmed.floor, rows.floor[::every])
    assert np.array_equal(trimmed.tenant, rows.tenant[::every])
    for x, i in enumerate(taken):
        pairs = trimmed.pair[trimmed.start[x] : trimmed.start[x + 1]]
        own = reduced[rows.start[i] : rows.start[i + 1]]
        assert np.all(np.diff(pairs) > 0)
        assert sorted(reduced[pairs], reverse=True) == sorted(own, reverse=True)[:keep]
    assert np.array_equal(trimmed.value, rows.value[trimmed.pair])
    assert np.array_equal(trimmed.demand, rows.demand[trimmed.pair])
    assert np.array_equal(trimmed.pool, rows.pool[trimmed.pair])
