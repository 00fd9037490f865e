"""Windows judged beside the stream: the same figures as offline, and never in its way."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aurora_batch import engine, router, schema, workload
from aurora_batch.engine import Decided
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.hindsight import Hindsight, chosen, regret
from aurora_batch.metrics import Committed, Metrics
from aurora_batch.router import RouterState
from aurora_batch.schema import Message, Record, Records
from aurora_batch.settings import BatchSettings, ReplaySettings, Settings
from pipelines.judge import Judge
from tests.streaming import run, send, settings_for, until, worker_for

WINDOW, BATCH = 200, 50
BATCHES = WINDOW // BATCH


def settings_of(bootstrap: str = "a:1", chunk: int = 10 * WINDOW) -> Settings:
    """Batches that close on their count alone."""
    settings = settings_for(bootstrap)
    batch = BatchSettings(max_requests=BATCH, linger_ms=3_600_000)
    changed = msgspec.structs.replace(settings.router, batch=batch)
    replay = ReplaySettings(chunk_requests=chunk)
    return msgspec.structs.replace(settings, router=changed, replay=replay)


SETTINGS = settings_of()
FLEET = fleet_from_settings(SETTINGS.providers)


def asked_for(windows: int, seed: int = 5) -> pa.Table:
    """Requests for three times what the fleet has, in whole windows."""
    made = workload.stress(FLEET, windows * WINDOW, seed=seed, load=3.0, per_window=WINDOW)
    length_us = round(SETTINGS.router.window_s * 1e6)
    begin_us = 1_000_000 * length_us  # where a window begins
    times = begin_us + np.arange(made.num_rows) * length_us // WINDOW
    place = made.column_names.index("requested_at")
    field = made.schema.field(place)
    return made.set_column(place, field, pa.array(times).cast(field.type))


def decided(requests: pa.Table, fleets: Sequence[Fleet] = (FLEET,)) -> Iterator[Decided]:
    """Decide micro-batches, each with its fleet, the rest with the last one."""
    values = schema.encode_requests_json(requests)
    state: RouterState = router.initial_state(fleets[0], SETTINGS)
    for number, low in enumerate(range(0, len(values), BATCH)):
        part = enumerate(values[low : low + BATCH])
        records = Records.of(Record(v, offset=low + i) for i, v in part)
        fleet = fleets[min(number, len(fleets) - 1)]
        decoded = engine.decode(records, SETTINGS)
        yield (done := engine.decide(records, decoded, fleet, state, SETTINGS))
        state = done.state


def offline(requests: pa.Table, decisions: pa.Table) -> list[float]:
    """Regret of each window, by hindsight over a whole log."""
    judge, found = Hindsight(FLEET, SETTINGS), []
    windows = decisions["window"].cast(pa.int64())
    for window in pc.unique(windows).to_pylist():
        own = pc.equal(windows, window)
        found.append(
            judge.add(window, requests.filter(own), [chosen(decisions.filter(own), FLEET)])
        )
    found.append(judge.finish())
    return [regret(window.values[0], window.bound) for window in found if window is not None]


def plain(done: Sequence[Decided] | Sequence[Committed]) -> pa.Table:
    """Return decisions as they are published."""
    return pa.concat_tables([d.decisions.to_table() for d in done])


def hours_by_window(requests: pa.Table) -> list[float]:
    """GPU-hours asked for in each whole window."""
    hours = requests["gpu_hours"].to_numpy().reshape(-1, WINDOW)
    return [float(total) for total in hours.sum(axis=1)]


@pytest.fixture
def metrics() -> Metrics:
    """Nothing noted yet."""
    return Metrics()


def judge_of(metrics: Metrics, chunk: int = 10 * WINDOW) -> Judge:
    """Judge for a worker that starts with nothing before it."""
    judge = Judge(settings_of(chunk=chunk), metrics)
    judge.begin(router.initial_state(FLEET, SETTINGS).ledger.window_us)
    return judge


def wait(judge: Judge) -> None:
    """Wait until nothing waits there."""
    for future, _ in judge._waiting:
        future.result()


def judged(metrics: Metrics) -> float:
    """Count of windows."""
    return metrics.value("aurora_windows_judged_total")


def test_each_window_that_is_over_gets_the_regret_of_hindsight(metrics: Metrics) -> None:
    """Whatever the batches, also where one of them reaches two windows."""
    requests = asked_for(3).slice(0, 3 * WINDOW - 20)
    shifted = pa.concat_tables([requests.slice(WINDOW - 20), requests.slice(0, 0)])
    judge, done = judge_of(metrics), list(decided(shifted))
    found = []
    for batch in done:
        judge.add(batch, FLEET)
        wait(judge)
        if judged(metrics) > len(found):
            found.append(metrics.value("aurora_window_regret"))

    expected = offline(shifted, plain(done))
    assert any(len(d.batches) == 2 for d in done)
    assert len(found) == 2
    assert found == pytest.approx(expected[:2])
    assert max(found) > 0


@pytest.mark.parametrize(
    ("chunk", "fleets", "first"),
    [
        (WINDOW - 1, [FLEET], 0),
        (WINDOW, [FLEET, FLEET, replace(FLEET, version="reloaded")], 0),
        (WINDOW, [FLEET], 1),
    ],
    ids=["too many requests", "reloaded in it", "not seen from its start"],
)
def test_some_windows_are_not_judged(
    metrics: Metrics, chunk: int, fleets: list[Fleet], first: int
) -> None:
    """One with too many requests, in which the fleet was reloaded, or seen only in part."""
    judge, batches = judge_of(metrics, chunk), list(decided(asked_for(2), fleets))
    if first:
        judge.begin(batches[0].batches[0].window_us)
    for number, batch in enumerate(batches[first:], first):
        judge.add(batch, fleets[min(number, len(fleets) - 1)])
        wait(judge)

    assert judged(metrics) == 0
    assert metrics.value("aurora_window_regret") == 0
    window = judge._window
    assert window is not None
    assert (window.hindsight is not None) == (chunk == WINDOW)  # the next one is, if it fits


def test_a_window_that_does_not_fit_behind_a_slow_judge_is_passed_over(metrics: Metrics) -> None:
    """At most `replay.chunk_requests` wait; the windows before and after are judged."""
    judge, done, go_on = judge_of(metrics, WINDOW), list(decided(asked_for(4))), Event()
    judge._thread.submit(go_on.wait)
    for batch in done[: 2 * BATCHES]:
        judge.add(batch, FLEET)

    assert sum(count for _, count in judge._waiting) == WINDOW
    go_on.set()
    wait(judge)
    found = []
    for batch in done[2 * BATCHES :]:
        judge.add(batch, FLEET)
        wait(judge)
        found.append((judged(metrics), metrics.value("aurora_window_regret")))
    all_of_them = offline(
        pa.concat_tables([d.decoded.requests for d in done]),
        plain(done),
    )
    assert found[0] == (1, pytest.approx(all_of_them[0]))
    assert found[BATCHES] == (2, pytest.approx(all_of_them[2]))


def test_what_fails_in_it_is_logged_and_later_windows_are_judged(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller never hears of it."""
    judge, done = judge_of(metrics), list(decided(asked_for(4)))
    asked = done[1].decoded.requests
    words = pa.array(["many"] * BATCH)  # in place of numbers
    asked = asked.set_column(asked.column_names.index("gpu_hours"), "gpu_hours", words)
    bad = replace(done[1], decoded=replace(done[1].decoded, requests=asked))
    with caplog.at_level(logging.ERROR):
        for batch in [done[0], bad, *done[2:]]:
            judge.add(batch, FLEET)
            wait(judge)

    assert caplog.text.count("a window is not judged") == 1
    assert judged(metrics) == 2


def test_a_stream_shows_what_its_decisions_say_offline(embedded: str) -> None:
    """Three windows: reserve prices, the forecast, and the last finished window's figures."""
    settings, requests, seen = settings_of(embedded), asked_for(3), []
    messages = [Message(v, b"key") for v in schema.encode_requests_json(requests)]

    async def go() -> Metrics:
        worker = worker_for(settings, observers=[seen.append])
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        sent = 0
        # A window is over, and judged, once a batch of the next one is committed.
        for count, until_judged in ((WINDOW + BATCH, 1), (2 * WINDOW + BATCH, 2)):
            await send(settings, messages[sent:count])
            sent = count

            async def done(windows: int = until_judged) -> bool:
                return judged(worker.metrics) == windows

            await until(done)
        await send(settings, messages[sent:-BATCH])

        async def decided() -> bool:
            return worker.account.decided == len(messages) - BATCH

        await until(decided)
        stop.set()
        await running
        return worker.metrics

    value = run(go()).value
    replayed = list(decided(requests.slice(0, len(messages) - BATCH)))
    decisions = plain(seen)
    asked, past = hours_by_window(requests), replayed[-1].state.outlook.demand.past
    outlook = replayed[-1].state.outlook
    assert outlook.forecast is not None
    reserve = seen[-1].batches[-1].reserve
    assert reserve is not None
    assert reserve.pool.any()
    prices = [value("aurora_reserve_price", pool=pool) for pool in FLEET.pool_ids]
    assert prices == reserve.pool.tolist()
    bounds = [value(f"aurora_expected_gpu_hours{bound}") for bound in ("", "_low", "_high")]
    assert bounds == pytest.approx(list(outlook.forecast))
    assert value("aurora_asked_gpu_hours") == pytest.approx(
        np.sum(requests["gpu_hours"].to_numpy()[2 * WINDOW : -BATCH])
    )
    assert value("aurora_window_asked_gpu_hours") == pytest.approx(asked[1])
    assert value("aurora_window_expected_gpu_hours") == pytest.approx(past[0].sum())
    expected = offline(requests.slice(0, decisions.num_rows), decisions)
    assert value("aurora_window_regret") == pytest.approx(expected[1])
    assert value("aurora_windows_judged_total") == 2
