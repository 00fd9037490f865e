"""Rounding and improvement: always feasible, never worse, as good as trying everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import improve, prices, repair
from kernels.improve import Combinations, Moves, Resources
from kernels.prices import Leaders
from kernels.repair import Plan
from kernels.rows import ROOM, Rows, Supply
from tests import naive_allocation as naive
from tests.kernels.allocations import Case, cases


def left_by(rows: Rows, supply: Supply, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a choice leaves of pools and budgets, counted from scratch."""
    left, purse = supply.capacity * (1 + ROOM), supply.budget * (1 + ROOM)
    for i, e in enumerate(choice.tolist()):
        if e >= 0:
            assert rows.start[i] <= e < rows.start[i + 1]
            left[rows.pool[e]] -= rows.demand[e]
            if rows.tenant.size and rows.tenant[i] >= 0:
                purse[rows.tenant[i]] -= rows.cost[e]
    return left, purse


def assert_feasible(case: Case, plan: Plan) -> None:
    """What the plan says is left is left, and nothing is exceeded."""
    left, purse = left_by(case.rows, case.supply, plan.choice)

    assert plan.left.tolist() == pytest.approx(left.tolist(), rel=1e-9, abs=1e-9)
    assert plan.purse.tolist() == pytest.approx(purse.tolist(), rel=1e-9, abs=1e-9)
    assert (left >= -1e-9 * case.supply.capacity).all()
    assert (purse >= -1e-9 * case.supply.budget).all()


def rounded(case: Case) -> Plan:
    """The plan that rounding makes at the case's prices."""
    net = prices.charge(case.rows, case.budget_price)
    n = case.rows.start.size - 1
    leaders = Leaders(np.empty((n, 2)), np.empty((n, 2), np.int32))
    prices.lead(case.rows, net, case.price, leaders)
    plan = repair.empty_plan(case.rows, case.supply)
    repair.round_up(case.rows, net, case.price, leaders, plan)
    repair.fill(case.rows, case.price, plan)
    return plan


def resources_of(case: Case) -> Resources:
    """Pools and budgets with their prices."""
    tenants = prices.by_tenant(case.rows.tenant, case.supply.budget.size)
    return Resources(case.columns, tenants, np.concatenate([case.price, case.budget_price]))


@settings(max_examples=150, deadline=None)
@given(case=cases)
def test_rounding_is_feasible_and_maximal(case: Case) -> None:
    """At any prices, good or not, and no refused request still fits."""
    plan = rounded(case)

    assert_feasible(case, plan)
    again = repair.empty_plan(case.rows, case.supply)
    again.choice[:], again.left[:], again.purse[:] = plan
    repair.place_in_order(case.rows, case.rows.value, np.arange(plan.choice.size), again)
    assert again.choice.tolist() == plan.choice.tolist()


@settings(max_examples=150, deadline=None)
@given(case=cases, credit=st.sampled_from([0.0, 0.9, 1.0]), depth=st.integers(1, 8))
def test_improvement_only_improves(case: Case, credit: float, depth: int) -> None:
    """A round stays feasible, gains what it says, and never loses."""
    plan, resources = rounded(case), resources_of(case)
    before = repair.worth(case.rows, plan)
    scratch = improve.new_scratch(resources, 8)
    order = np.arange(resources.price.size)
    at, gained, _ = improve.improve(
        case.rows, resources, plan, order, 0, credit, depth, 1e-9, 1 << 40, scratch
    )

    assert at == order.size
    assert gained >= 0
    assert repair.worth(case.rows, plan) == pytest.approx(before + gained, rel=1e-9, abs=1e-9)
    assert_feasible(case, plan)


@settings(max_examples=80, deadline=None)
@given(case=cases, seed=st.integers(1, 2**63))
def test_shaking_keeps_the_best(case: Case, seed: int) -> None:
    """Random tries stay feasible, and the best is never worse than the start."""
    plan, resources = rounded(case), resources_of(case)
    best, before = plan.choice.copy(), repair.worth(case.rows, plan)
    scratch = improve.new_scratch(resources, 64)
    if not best.size:
        return
    risen, behind, _ = improve.shake(
        case.rows, resources, plan, best, 0.0, 2, 0.5, 5_000, np.array([seed], np.uint64), scratch
    )
    value = case.rows.value[best[best >= 0]].sum()

    assert value == pytest.approx(before + risen, rel=1e-9, abs=1e-9)
    assert repair.worth(case.rows, plan) == pytest.approx(value + behind, rel=1e-9, abs=1e-9)
    assert_feasible(case, plan)
    left, purse = left_by(case.rows, case.supply, best)
    assert (left >= -1e-9 * case.supply.capacity).all()
    assert (purse >= -1e-9 * case.supply.budget).all()


@settings(max_examples=300, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=10),
    room=st.integers(0, 12),
    price=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_combinations_are_optimal(moves: list[tuple[int, int]], room: int, price: float) -> None:
    """The best of all subsets of moves, whatever the price that guides the search."""
    units, gain = np.array(moves, np.float64).reshape(-1, 2).T.copy()
    reduced = gain - price * units
    order = np.argsort(-reduced, kind="stable")
    index = np.zeros(len(moves), np.int32)
    core = Moves(index, index, units[order], gain[order], reduced[order])
    lists = Combinations(
        np.empty((2, improve.STATES)),
        np.empty((2, improve.STATES)),
        np.empty((2, improve.STATES), np.int64),
    )
    bits, found, _ = improve.combine(core, len(moves), room, price, lists)
    chosen = [x for x in range(len(moves)) if bits >> x & 1]

    assert found == naive.combine(units.tolist(), gain.tolist(), room)
    assert sum(core.units[x] for x in chosen) <= room
    assert sum(core.gain[x] for x in chosen) == found
