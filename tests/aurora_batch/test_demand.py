"""The forecast of what a window still asks for: each view, and how windows weigh them."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aurora_batch import demand
from aurora_batch.demand import BINS, DOUBT, MOST, PRIOR, Demand, Forecast

F64 = NDArray[np.float64]

LENGTH = 60_000_000  # microseconds, a bin a second
EVEN = np.ones(BINS)
HALF = BINS // 2


def add(state: Demand, by_bin: F64, low: int = 0, high: int = BINS) -> Demand:
    """One request in the middle of each bin of [low, high), of so many GPU-hours."""
    at = state.window_us + ((np.arange(low, high) + 0.5) / BINS * LENGTH).astype(np.int64)
    return state.add(at, by_bin[low:high], LENGTH)


def after(*windows: F64) -> Demand:
    """At the start of a window, when these came before it."""
    state = Demand().enter(0, LENGTH)
    for number, window in enumerate(windows, 1):
        state = add(state, window).enter(number * LENGTH, LENGTH)
    return state


def hours(state: Demand, gone: float) -> float:
    """GPU-hours expected after that part of the window."""
    forecast = state.expected(gone)
    assert forecast is not None
    assert in_range(forecast)
    return forecast.hours


def in_range(forecast: Forecast) -> bool:
    """Whether 0 <= low <= hours <= high, but for rounding."""
    low, hours, high = forecast.low, forecast.hours, forecast.high
    return bool(0 <= low <= hours * (1 + 1e-12) and hours <= high * (1 + 1e-12) < np.inf)


def weights(state: Demand) -> F64:
    """Weights of as usual, level and total."""
    return state.weights


def burst(at: int) -> F64:
    """Half of a window's hours in one of its tenths."""
    window = np.full(BINS, 0.5)
    window[6 * at : 6 * at + 6] += 5.0
    return window


@pytest.mark.parametrize("windows", [1, 2, 4, 9])
def test_as_long_as_all_is_usual_what_is_left_of_it_comes(windows: int) -> None:
    """All views agree: the rest of the usual window, at any moment, and nothing at its end."""
    state = after(*[EVEN] * windows)
    for x in (0, 6, 30, 59, 60):
        came = add(state, EVEN, 0, x)

        forecast = came.expected(x / BINS)
        assert forecast is not None
        assert forecast == pytest.approx((60.0 - x,) * 3)


def test_between_two_bins_a_part_of_one_has_passed() -> None:
    """A moment within a bin leaves a part of that bin's hours."""
    state = after(EVEN)

    assert hours(add(state, EVEN / 2, 0, 1), 0.5 / BINS) == pytest.approx(59.5)


def test_the_profile_of_a_window_is_learned() -> None:
    """Where most hours come late, most are expected even after half of the window."""
    late = np.repeat([0.5, 1.5], HALF)
    state = add(after(late, late), late, 0, HALF)

    assert hours(state, 0.5) == pytest.approx(45.0)


def test_the_last_window_counts_most() -> None:
    """A window has twice the weight of the one before it."""
    assert after(EVEN, 4 * EVEN).usual() == pytest.approx((60 + 2 * 240) / 3)
    assert after(EVEN, *[4 * EVEN] * 4).usual() == pytest.approx(240.0)  # four are remembered


def test_more_all_along_raises_the_level() -> None:
    """With 40 % more so far, more is expected than usual, the surer the longer it lasts."""
    state = after(EVEN, EVEN)
    expected = [hours(add(state, 1.4 * EVEN, 0, x), x / BINS) / (60 - x) for x in (3, 12, 30)]

    assert 1 < expected[0] < expected[1] < expected[2] < 1.4
    level = (PRIOR + 0.5 * 1.4) / (PRIOR + 0.5)
    high = add(state, 1.4 * EVEN, 0, HALF).expected(0.5)
    assert high is not None
    assert high.high == pytest.approx(level * 30)


def test_less_all_along_lowers_the_level() -> None:
    """With 40 % less so far, less is expected than usual, though `total` says it comes later."""
    state = add(after(EVEN, EVEN), 0.6 * EVEN, 0, HALF)
    forecast = state.expected(0.5)

    assert forecast is not None
    assert forecast.low == pytest.approx((PRIOR + 0.3) / (PRIOR + 0.5) * 30)
    assert forecast.high == pytest.approx(60 - 18)
    assert forecast.hours < 30


def test_a_burst_does_not_foretell_itself() -> None:
    """Ten or a thousand times the usual rate in a tenth: the level counts it as MOST times."""
    state = add(after(EVEN), EVEN, 0, 24)
    for times in (10, 1_000):
        forecast = add(state, times * EVEN, 24, 30).expected(0.5)

        assert forecast is not None
        level = (PRIOR * 60 + 24 + MOST * 6) / (PRIOR * 60 + 30)
        assert forecast.high == pytest.approx(level * 30)
        assert level < 1.2


def test_bursts_that_wander_move_the_weights_to_the_total() -> None:
    """Windows of one total with a burst here or there: what came early will not come again."""
    state = after(*(burst(at) for at in (2, 7, 4, 1)))
    expected = hours(add(state, burst(1), 0, 18), 0.3)
    usual = demand._after(demand._average(state.past), 0.3)
    rest = burst(1)[18:].sum()

    assert np.argmax(weights(state)) == 2
    assert weights(state)[2] > 0.7
    assert abs(expected - rest) < 0.5 * abs(usual - rest)


def test_levels_that_alternate_move_the_weights_to_the_level() -> None:
    """Every other window 40 % above the last: a window's start tells which it is."""
    state = after(EVEN, 1.4 * EVEN, EVEN, 1.4 * EVEN)
    by_doubt = np.array(DOUBT) ** -2.0

    assert np.argmax(weights(state)) == 1
    assert weights(state)[1] > (by_doubt / by_doubt.sum())[1]
    usual = state.usual() / 2
    for level in (1.0, 1.4):
        expected = hours(add(state, level * EVEN, 0, HALF), 0.5)
        assert abs(expected - level * 30) < 0.6 * abs(usual - level * 30)


def test_without_evidence_the_level_counts_most() -> None:
    """One window says nothing of the views: they are weighed by their doubt, and none is lost."""
    before = weights(after(EVEN))

    assert np.argmax(before) == 1
    assert before.sum() == pytest.approx(1)
    assert before.min() > 0.05
    assert before.tolist() == pytest.approx(weights(after(EVEN, EVEN)).tolist())


def test_at_the_very_start_nothing_is_known() -> None:
    """No forecast before a fiftieth of the first window was seen, then its rate goes on."""
    empty = Demand().enter(0, LENGTH)
    started = add(empty, EVEN, 0, 1)

    assert Demand().expected(0.0) is None
    assert empty.expected(0.01) is None
    assert started.expected(1 / BINS) is None
    seen = add(empty, EVEN, 0, 12)
    assert hours(seen, 12 / BINS) == pytest.approx(48, rel=0.05)
    assert seen.usual() == 0


def test_the_first_window_may_be_entered_in_its_middle() -> None:
    """Its rate counts from the first request ever, and what nobody saw is filled in at its mean."""
    joined = add(Demand().enter(0, LENGTH), EVEN, HALF, HALF + 15)

    assert joined.since == pytest.approx(0.5, abs=0.01)
    assert joined.expected(joined.since + 0.01) is None
    assert hours(joined, 0.75) == pytest.approx(15, rel=0.05)
    whole = add(joined, EVEN, HALF + 15).enter(LENGTH, LENGTH)
    assert whole.usual() == pytest.approx(60.0)
    assert (whole.since, whole.current.sum()) == (0.0, 0.0)


def test_since_is_of_the_first_requests_only() -> None:
    """A pause in a later window, or in the same one, is a pause and no late start."""
    joined = add(Demand().enter(0, LENGTH), EVEN, 10, 11)

    assert add(joined, EVEN, 40, 41).since == joined.since > 0
    assert add(after(EVEN), EVEN, 40, 41).since == 0


def test_windows_without_requests_count() -> None:
    """Two skipped windows are two empty ones; after more than are remembered all is forgotten."""
    paused = add(after(EVEN), EVEN).enter(4 * LENGTH, LENGTH)
    long = after(EVEN).enter(1_000_000 * LENGTH, LENGTH)

    assert paused.past.sum(axis=1).tolist() == [60.0, 60.0, 0.0, 0.0]
    assert 0 < paused.usual() < 30
    assert long.past.sum(axis=1).tolist() == [0.0] * 4
    assert long.expected(0.0) is None


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_silence_before_the_first_requests_is_no_evidence(silent: int) -> None:
    """Empty windows before all others tell nothing of the views, and a forecast is a number."""
    state = add(after(*[0 * EVEN] * silent, EVEN), EVEN, 0, HALF)

    assert weights(state).tolist() == pytest.approx(weights(after(EVEN)).tolist())
    assert hours(state, 0.5) > 0


def test_late_requests_count_at_the_windows_start() -> None:
    """Requests of older windows are decided in this one, and those beyond its end in its last."""
    state = after(EVEN)
    added = state.add(np.array([-5, state.window_us + 2 * LENGTH]), np.array([3.0, 4.0]), LENGTH)

    assert (added.current[0], added.current[-1], added.current.sum()) == (3.0, 4.0, 7.0)
    assert state.enter(0, LENGTH) is state


def test_no_requests_change_nothing() -> None:
    """An empty batch leaves the same demand."""
    state = after(EVEN)

    assert state.add(np.zeros(0, np.int64), np.zeros(0), LENGTH) is state


amounts = st.lists(
    st.just([0.0] * BINS)
    | st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 7.0, 1e9]), min_size=BINS, max_size=BINS),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(windows=amounts, gone=st.floats(0, 1))
def test_a_forecast_is_a_number_of_hours(windows: list[list[float]], gone: float) -> None:
    """Whatever came: low <= hours <= high, none below 0 or infinite, the same every time."""
    *before, last = (np.array(window) for window in windows)
    state = add(after(*before), last, 0, int(gone * BINS))
    forecast = state.expected(gone)

    assert forecast is None or in_range(forecast)
    assert forecast == add(after(*before), last, 0, int(gone * BINS)).expected(gone)


def test_nothing_is_changed_in_place() -> None:
    """Adding, entering and forecasting leave a demand as it was."""
    state = add(after(EVEN, burst(3)), EVEN, 0, 20)
    copies = {f.name: np.copy(getattr(state, f.name)) for f in fields(state)}
    for array in (state.current, state.past):
        array.setflags(write=False)
    add(state, EVEN, 20, 30).enter(3 * LENGTH, LENGTH)
    state.expected(0.5)

    for name, copy in copies.items():
        assert np.array_equal(getattr(state, name), copy)
