"""Windows, and what is left in them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.fleet import Fleet, default_fleet
from aurora_batch.ledger import Ledger, window_of
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings

MINUTE = 60_000_000


@pytest.fixture
def fleet() -> Fleet:
    """The built-in fleet."""
    return default_fleet()


@pytest.fixture
def tenants() -> Tenants:
    """The built-in tenants, four of them with a budget."""
    return Tenants.from_settings(Settings())


def spent(ledger: Ledger, hours: float = 7.3, usd: float = 11.7) -> Ledger:
    """The ledger after a batch that took the same from each pool and budget."""
    return ledger.spend(ledger.pool_left - hours, ledger.budget_left - usd)


def test_windows_are_aligned_spans() -> None:
    """An event on the boundary opens the next window; times before 1970 align downwards."""
    events = np.array([0, MINUTE - 1, MINUTE, -1])

    assert window_of(events, MINUTE).tolist() == [0, 0, MINUTE, -MINUTE]


def test_a_new_window_is_whole_again(fleet: Fleet, tenants: Tenants) -> None:
    """Capacity and budgets come back, the batch count starts again."""
    after = spent(Ledger.whole(fleet, tenants, 0)).enter(MINUTE, fleet, tenants)

    assert after.pool_left.tolist() == fleet.pool_capacity.tolist()
    assert after.budget_left.tolist() == tenants.budget.tolist()
    assert after.batches == 0


@pytest.mark.parametrize("window", [MINUTE, 0])
def test_the_same_or_an_older_window_keeps_what_is_left(
    fleet: Fleet, tenants: Tenants, window: int
) -> None:
    """Late requests do not bring anything back."""
    before = spent(Ledger.whole(fleet, tenants, MINUTE))

    assert before.enter(window, fleet, tenants) is before


def test_a_reload_in_mid_window_keeps_what_was_spent(fleet: Fleet, tenants: Tenants) -> None:
    """A pool that grew has that much more left; one that shrank below its use has nothing."""
    before = spent(Ledger.whole(fleet, tenants, 0), hours=100.0)
    capacity = fleet.pool_capacity.copy()
    capacity[0] += 50
    capacity[1] = 90
    after = before.enter(0, replace(fleet, pool_capacity=capacity), tenants)

    assert after.pool_left[0] == pytest.approx(fleet.pool_capacity[0] - 100 + 50)
    assert after.pool_left[1] == 0


def test_rounding_never_leaves_less_than_nothing(fleet: Fleet, tenants: Tenants) -> None:
    """A last digit below zero is cut off."""
    whole = Ledger.whole(fleet, tenants, 0)
    after = whole.spend(np.full_like(whole.pool_left, -1e-13), whole.budget_left)

    assert after.pool_left.min() == 0


@given(st.floats(0, 100), st.floats(0, 200))
def test_snapshots_restore_bit_for_bit(hours: float, usd: float) -> None:
    """A ledger read back goes on exactly as if it had not been written."""
    fleet, tenants = default_fleet(), Tenants.from_settings(Settings())
    before = spent(Ledger.whole(fleet, tenants, MINUTE), hours, usd)
    after = Ledger.from_json(before.to_json(), tenants).enter(MINUTE, fleet, tenants)

    assert after.pool_left.tobytes() == before.pool_left.tobytes()
    assert after.budget_left.tobytes() == before.budget_left.tobytes()
    assert (after.window_us, after.batches) == (before.window_us, before.batches)
