"""The outlook: sample, moments at which prices are due, and the reserve prices."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch import outlook, router
from aurora_batch.outlook import DELAY, FIRST_PRICED, LEAST_OFTEN, SHARE, Asked, Outlook
from aurora_batch.router import RouterState, Step
from aurora_batch.sample import HELD, OFFSETS, ORIGIN, PIECES, SAMPLED, Sample
from tests.aurora_batch import windows
from tests.aurora_batch.windows import SAMPLE, Log
from tests.requests import NOON, table

NOON_US = int(NOON.timestamp() * 1e6)
MANY = table([{"tenant_id": str(i), "gpu_hours": 1.0 + i} for i in range(400)])


@cache
def scarce() -> Log:
    """Twice as much is wanted as there is."""
    return windows.log(2.0, batch=40)


@cache
def decided() -> tuple[Step, ...]:
    """Its steps, with look-ahead."""
    return tuple(scarce().decide())


def middle(gone: float = 0.5) -> RouterState:
    """The state in the second window, after that part of it."""
    second = decided()[-1].batch.window_us
    in_it = [s for s in decided() if s.batch.window_us == second]
    return in_it[int(gone * (len(in_it) - 1))].state


def entered(seen: Outlook, now_us: int, log: Log | None = None) -> Outlook:
    """Enter a batch of the second window of a log."""
    log = log or scarce()
    return outlook.enter(seen, middle().ledger, now_us, log.fleet, log.settings)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), max_size=2 * PIECES),
    most=st.sampled_from([1, 7, 50, 10_000]),
    shuffled=st.booleans(),
    needed=st.sets(st.integers(0, 2 * PIECES)),
)
def test_a_sample_is_the_latest_requests(
    sizes: list[int], most: int, shuffled: bool, needed: set[int]
) -> None:
    """By event time and id, at most so many, however they came and whenever they were gathered."""
    order = np.random.default_rng(1).permutation(MANY.num_rows)
    requests = MANY.take(pa.array(order)) if shuffled else MANY
    sample, at = Sample(most), 0
    for turn, size in enumerate(sizes):
        at = min(at, requests.num_rows - size)
        sample, at = sample.add(requests.slice(at, size)), at + size
        assert len(sample.pieces) <= PIECES
        assert sum(p.num_rows for p in sample.pieces) <= HELD * most
        sample = sample.gathered() if turn in needed else sample
    seen = requests.slice(0, at).sort_by(
        [("requested_at", "ascending"), ("request_id", "ascending")]
    )

    if len(set(sizes)) and at == sum(sizes):
        latest = seen.slice(max(0, seen.num_rows - most))
        assert sample.table().select(SAMPLED).equals(latest.select(SAMPLED).combine_chunks())


def test_of_requests_with_one_id_a_sample_has_the_first() -> None:
    """By origin, whichever came into it first; without origins, the one that came first."""
    twice = MANY.slice(0, 3).set_column(
        0, MANY.schema.field("request_id"), pa.array(["a", "b", "a"])
    )
    known = [twice.append_column(ORIGIN, pa.array([7, 8, 3])).slice(i, 1) for i in range(3)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        sample = Sample(10)
        for i in order:
            sample = sample.add(known[i])
        assert sorted(sample.table()["gpu_hours"].to_pylist()) == [2.0, 3.0]
    assert sorted(Sample(10).add(twice).table()["gpu_hours"].to_pylist()) == [1.0, 2.0]


@pytest.mark.parametrize("most", [2, 100])
def test_a_sample_knows_where_its_requests_are_from(most: int) -> None:
    """The offsets in each partition between which all is that it holds, and not many more."""
    offsets = {0: [5, 9, 11], 3: [2, 4, 70]}
    origins = [p * OFFSETS + o for p, some in offsets.items() for o in some]
    requests = MANY.slice(0, 6).append_column(ORIGIN, pa.array(origins))
    sample = Sample(most)
    for i in range(6):
        sample = sample.add(requests.slice(i, 1))
        sample = sample.gathered() if i in {2, 5} else sample

    held = sample.table()[ORIGIN].to_pylist()
    spans = {p: [o for o in some if p * OFFSETS + o in held] for p, some in offsets.items()}
    known = sample.origins()
    assert all(known[p][0] <= min(o) and max(o) <= known[p][1] for p, o in spans.items() if o)
    if most > 6:
        assert known == {0: (5, 11), 3: (2, 70)}
    else:  # what the cut before the last one left out is forgotten
        assert known == {0: (9, 11), 3: (2, 70)}


def test_at_first_nothing_is_kept() -> None:
    """Without a request seen there are no forecast and no prices, and the batch is its own best."""
    log = scarce()
    state = log.start()

    assert (state.outlook.prices, state.outlook.forecast) == (None, None)
    assert decided()[0].batch.reserve is None
    first = outlook.enter(
        state.outlook, decided()[0].state.ledger, NOON_US, log.fleet, log.settings
    )
    assert first.prices is None
    assert not first.due


def test_where_nothing_is_scarce_nothing_is_kept() -> None:
    """Prices are zero, so that every batch is decided as if nobody looked ahead."""
    steps = windows.log(0.1).decide()
    found = [s.state.outlook.reserve for s in steps]

    assert all(s.batch.reserve is None for s in steps)
    assert all(p is not None and not p.pool.any() and not p.budget.any() for p in found)


def test_scarce_capacity_has_a_price() -> None:
    """From the second batch on, by when a fiftieth of the first window was seen."""
    kept = [s.batch.reserve for s in decided()]

    assert kept[0] is None
    assert all(p is not None and (p.pool >= 0).all() and p.pool.any() for p in kept[3:-3])


def test_prices_fall_to_zero_as_the_window_ends() -> None:
    """With the same left and the same sample, the later the less, and nothing at the end."""
    log, state = scarce(), middle(0.3)
    start, kept = state.ledger.window_us, []
    for gone in (0.3, 0.6, 0.9, 0.99, 1.0):
        seen = replace(state.outlook, now_us=start + round(gone * 60e6), reserve=None)
        prices = outlook.look_ahead(Asked(seen, state.ledger), log.fleet, log.settings)
        kept.append(float(prices.pool @ log.fleet.pool_capacity))

    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 3 * kept[2]
    assert kept[-1] == 0


def test_where_demand_dries_up_prices_fall() -> None:
    """After a silence within the window the next batch's prices are solved again, and are lower."""
    seen = replace(middle().outlook, asked=None)
    silence = seen.solved_us + 2 * round(60e6 / LEAST_OFTEN) + 1

    assert seen.reserve is not None
    assert entered(seen, silence - 1) is seen
    later = entered(seen, min(silence + 20_000_000, seen.demand.window_us + 59_000_000))
    assert later.reserve is not None
    assert later.reserve.pool.sum() < seen.reserve.pool.sum()


def observed(seconds: float, requests: int, hours: float, seen: Outlook | None = None) -> bool:
    """Whether so many requests, so long after the last ones, make prices asked for."""
    log = windows.log(2.0)
    settings = windows.with_lookahead(log.settings, sample=10_000)
    seen = seen or middle().outlook
    seen = replace(seen, asked=None, fresh_hours=0.0, solved_us=seen.now_us)
    event = np.full(requests, seen.solved_us + round(seconds * 1e6))
    batch = table([{"gpu_hours": hours / requests}] * requests)
    return outlook.observe(seen, event, batch, middle().ledger, settings).asked is not None


def test_prices_are_asked_for_once_enough_is_new() -> None:
    """After a part of a usual window's hours, in a burst too, or of a window."""
    share = SHARE * middle().outlook.demand.usual()
    unknown = replace(
        middle().outlook, demand=replace(middle().outlook.demand, past=np.zeros((0, 60)))
    )

    assert not observed(0.001, 5, 0.99 * share)
    assert observed(0.001, 5, 1.01 * share)
    assert not observed(0.001, 5, 1.01 * share, unknown)
    assert not observed(60 / LEAST_OFTEN - 0.1, 1, 1.0)
    assert observed(60 / LEAST_OFTEN, 1, 1.0)


def test_how_a_sample_lies_in_pieces_asks_for_no_prices() -> None:
    """A window's first prices come from all of a small sample: no second ones are asked for.

    Not even while more than that waits to be cut, which a successor would not know of.
    """
    most = FIRST_PRICED // 2
    rows = [{"tenant_id": str(i), "gpu_hours": 1.0} for i in range(FIRST_PRICED // 4 + 1)]
    sample = Sample(most)
    for turn in range(4):
        ids = pa.array([f"{turn}-{i}" for i in range(len(rows))])
        sample = sample.add(table(rows).set_column(0, MANY.schema.field("request_id"), ids))
    assert sample.rows > FIRST_PRICED
    seen = entered(replace(middle().outlook, sample=sample, due=True), middle().outlook.now_us)
    assert seen.asked is None


def test_prices_are_charged_a_while_after_they_were_asked_for() -> None:
    """By time or by hours, or at once where one batch brought that much; else the old ones are."""
    state = middle()
    later = replace(state.ledger, pool_left=state.ledger.pool_left / 2)
    seen = replace(state.outlook, asked=None, fresh_hours=0.0, solved_us=state.outlook.now_us)
    seen = replace(seen, asked=Asked(seen, later, at_once=False))
    pause = DELAY * 60e6 / LEAST_OFTEN
    enough = 1.01 * DELAY * SHARE * seen.demand.usual()

    assert entered(seen, seen.now_us) is seen
    assert entered(seen, seen.now_us + round(0.9 * pause)) is seen
    by_time = entered(seen, seen.now_us + round(pause) + 1)
    by_hours = entered(replace(seen, fresh_hours=enough), seen.now_us)
    at_once = entered(replace(seen, asked=Asked(seen, later)), seen.now_us)
    for after in (by_time, by_hours, at_once):
        assert after.asked is None
        assert after.reserve is not None
        assert seen.reserve is not None
        assert after.reserve.pool.sum() > 1.2 * seen.reserve.pool.sum()


def test_when_prices_are_asked_for_depends_on_time_and_amounts_only() -> None:
    """Neither the fleet nor what is asked for and paid has a part in it."""
    log, other = windows.log(2.0, batch=15), windows.log(0.3, pools=5)
    due: list[list[tuple[bool, int, float]]] = []
    for fleet, asked in ((log.fleet, None), (other.fleet, "a100")):
        state = replace(log, fleet=fleet).start()
        due.append([])
        for requests in log.batches[:100]:
            batch = requests
            if asked is not None:
                at, gpu = batch.schema.get_field_index("gpu_type"), [asked] * batch.num_rows
                batch = batch.set_column(at, "gpu_type", [gpu]).cast(batch.schema)
            for step in router.decide(batch, fleet, state, log.settings):
                state = step.state
                seen = state.outlook
                due[-1].append((seen.asked is None, seen.solved_us, seen.fresh_hours))

    assert due[0] == due[1]
    assert {made_due for made_due, _, _ in due[0]} == {True, False}


def test_a_reloaded_fleet_is_priced_anew() -> None:
    """Prices of the old fleet are not charged, though none were due, and pools may be new."""
    log, state = scarce(), middle()
    seen = replace(state.outlook, asked=None)
    assert entered(seen, seen.now_us) is seen
    other = windows.log(3.0, pools=9)
    step = router.step(log.batches[50], other.fleet, replace(state, outlook=seen), log.settings)

    assert step.batch.reserve is not None
    assert step.batch.reserve.pool.size == 9
    assert step.state.outlook.fleet_version == other.fleet.version


def test_prices_are_computed_once() -> None:
    """Whoever asks second, in any thread, gets those of the first, unless the fleet is another."""
    log, state = scarce(), middle()
    asked = Asked(replace(state.outlook, asked=None), state.ledger)
    seen = replace(state.outlook, asked=asked)
    arguments = (asked, log.fleet, log.settings)
    with ThreadPoolExecutor(4) as threads:
        found = [f.result() for f in [threads.submit(outlook.look_ahead, *arguments)] * 4]

    assert all(f is found[0] for f in found)
    enough = replace(seen, solved_us=seen.now_us - round(60e6 / LEAST_OFTEN))
    assert entered(enough, seen.now_us).reserve is found[0]
    reloaded = replace(log.fleet, version="another")
    again = outlook.look_ahead(asked, reloaded, log.settings)
    assert again is not found[0]
    assert again.pool.tolist() == found[0].pool.tolist()


def test_who_waits_ends_the_rest_of_who_takes_its_time() -> None:
    """Prices that are solved beside the batches in next to no time are there when they are due."""
    log, state = scarce(), middle()
    asked = Asked(replace(state.outlook, asked=None), state.ledger)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(outlook.look_ahead, asked, log.fleet, log.settings, 1e-6)
        while not asked.once.busy:
            time.sleep(0.001)
        assert outlook.look_ahead(asked, log.fleet, log.settings) is slow.result()


@pytest.mark.parametrize("wait", [True, False])
def test_another_thread_may_look_ahead(wait: bool) -> None:
    """Before the next batch, beside it, or not at all: 60 batches are decided the same."""
    log = scarce()
    state, steps = log.start(), []
    with ThreadPoolExecutor(1) as thread:
        for batch in log.batches[:60]:
            for step in router.decide(batch, log.fleet, state, log.settings):
                state = step.state
                steps.append(step)
                if (asked := state.outlook.asked) is not None:
                    ahead = thread.submit(outlook.look_ahead, asked, log.fleet, log.settings)
                    if wait:
                        ahead.result()
    alone = decided()[: len(steps)]

    assert windows.decisions(steps).equals(windows.decisions(list(alone)))
    assert SAMPLE >= state.outlook.sample.table().num_rows > SAMPLE / 2
