"""The worker on an embedded broker: nothing lost, neighbours unaffected, counts that add up."""

import asyncio
import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from aurora_batch import engine, router, schema
from aurora_batch.adapters.kafka import Sink, Source
from aurora_batch.alignment import Merged
from aurora_batch.errors import BrokerError, UsageError
from aurora_batch.fleet import default_fleet
from aurora_batch.metrics import Committed
from aurora_batch.microbatch import MicroBatch
from aurora_batch.replies import Headers, Message
from aurora_batch.schema import Records
from aurora_batch.settings import BatchSettings, RouterSettings
from aurora_batch.trail import HEADER
from pipelines import session
from pipelines.session import Session
from pipelines.shards import Shard
from tests import requests
from tests.streaming import (
    cluster_of,
    decisions_of,
    drained,
    records_of,
    request,
    run,
    send,
    settings_for,
    until,
    worker_for,
)

ARROW = ("content-type", schema.ARROW_CONTENT_TYPE.encode())


def ids(decisions: list[dict[str, Any]]) -> list[str]:
    """Request ids, sorted."""
    return sorted(d["request_id"] for d in decisions)


def test_every_json_request_gets_one_decision_in_its_partition(embedded: str) -> None:
    """1,000 JSON requests, in many batches: a JSON decision each, where the request's key leads."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(1000)))

        worker = await drained(settings)

        topics = settings.kafka.topics
        asked = await records_of(settings, topics.requests)
        replies = await records_of(settings, topics.decisions)
        assert ids(await decisions_of(settings)) == sorted(f"r{i}" for i in range(1000))
        assert {(r.key, r.partition) for r in replies} == {(r.key, r.partition) for r in asked}
        assert (worker.account.decided, worker.account.in_flight) == (1000, 0)

    run(go())


@pytest.mark.parametrize("small", [0, 30_000])
def test_large_micro_batches_are_staged_beside_the_next_decision(
    embedded: str, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """All or some of them, in any order: each request once, batches in their order."""
    monkeypatch.setattr(session, "SMALL_BYTES", small)

    async def go() -> None:
        settings = settings_for(embedded, batch=50)
        padded = (request(i, note="x" * 500 * (i // 50 % 2)) for i in range(1000))
        await send(settings, padded)

        worker = await drained(settings)

        assert ids(await decisions_of(settings)) == sorted(f"r{i}" for i in range(1000))
        assert (worker.account.decided, worker.account.in_flight) == (1000, 0)
        replies = await records_of(settings, settings.kafka.topics.decisions)
        for partition in range(4):
            said = [json.loads(r.value or b"") for r in replies if r.partition == partition]
            made = [(d["window"], int(d["batch_id"].rpartition("-")[2])) for d in said]
            assert made == sorted(made)

    run(go())


def test_an_arrow_payload_gets_an_arrow_payload_of_decisions(embedded: str) -> None:
    """Rows of an Arrow payload come back as one payload, in their order, bad ones left out."""

    async def go() -> None:
        settings = settings_for(embedded)
        hours = [1.0, -1.0, 1.0]
        rows = [{"request_id": f"a{i}", "gpu_hours": h} for i, h in enumerate(hours)]
        payload = schema.encode_requests_arrow(requests.table(rows))
        await send(settings, [request(1), Message(payload, b"a100", (ARROW,)), request(2)])

        await drained(settings)

        replies = await records_of(settings, settings.kafka.topics.decisions)
        packed = [r for r in replies if _own(r.headers)]
        assert [_own(r.headers) for r in packed] == [(ARROW,)]
        with pa.ipc.open_stream(packed[0].value) as stream:
            assert stream.read_all()["request_id"].to_pylist() == ["a0", "a2"]
        dead = await records_of(settings, settings.kafka.topics.dead_letters)
        assert [dict(r.headers)["aurora-row"] for r in dead] == [b"1"]
        assert ids(await decisions_of(settings)) == ["a0", "a2", "r1", "r2"]

    run(go())


def test_bad_records_are_dead_letters_and_their_neighbours_decisions(embedded: str) -> None:
    """A dead letter has the bytes, key and coordinates of its record; the others are decided."""

    async def go() -> None:
        settings = settings_for(embedded)
        bad = [b"{", b"[]", request(7, gpu_hours=-1).value, None]
        mixed = [request(0), *(Message(value, b"a100") for value in bad), request(3)]
        await send(settings, mixed)

        worker = await drained(settings)

        asked = await records_of(settings, settings.kafka.topics.requests)
        dead = await records_of(settings, settings.kafka.topics.dead_letters)
        assert [r.value for r in dead] == bad
        coordinates = {(r.partition, r.offset): r.value for r in asked}
        for record in dead:
            headers = dict(record.headers)
            place = int(headers["aurora-partition"]), int(headers["aurora-offset"])
            assert coordinates[place] == record.value
            assert headers["aurora-topic"] == settings.kafka.topics.requests.encode()
        assert ids(await decisions_of(settings)) == ["r0", "r3"]
        assert (worker.account.decided, worker.account.dead) == (2, 4)

    run(go())


def _own(headers: Headers) -> Headers:
    """What belongs to the decision itself, without the trail of its micro-batch."""
    return tuple(h for h in headers if h[0] != HEADER)


def test_trace_and_event_headers_travel(embedded: str) -> None:
    """`traceparent`, `tracestate` and `ce_*` are on the decision, other headers are not."""

    async def go() -> None:
        settings = settings_for(embedded)
        said = (("traceparent", b"00-1"), ("x", b"y"), ("ce_id", b"7"), ("tracestate", b"a=b"))
        await send(settings, [Message(request(1).value, b"a100", said)])

        await drained(settings)

        (reply,) = await records_of(settings, settings.kafka.topics.decisions)
        assert _own(reply.headers) == tuple(h for h in said if h[0] != "x")

    run(go())


def test_a_backlog_is_decided_in_event_time_over_all_partitions(embedded: str) -> None:
    """A partition of which a fetch brings ten times as much time waits: no request is late."""

    async def go() -> None:
        settings = settings_for(embedded, batch=70)
        topic = settings.kafka.topics.requests
        sink = Sink(cluster_of(settings), {topic: 4})
        await sink.open()
        for piece in range(100):  # ten a minute; one of them fills the second partition
            at = f"2026-01-01T12:{piece // 10:02}:30Z"
            numbered = (request(20 * piece + i, requested_at=at) for i in range(20))
            place = int(piece % 10 == 0)
            await sink.send(
                sink.stage({topic: [Message(m.value, None, (), place) for m in numbered]})
            )
        await sink.close()
        seen: list[Committed] = []

        worker = await drained(settings, observers=[seen.append])

        batches = [b for done in seen for b in done.batches]
        assert worker.account.decided == 2000
        assert sum(b.late for b in batches) == 0
        assert len({b.window_us for b in batches}) == 10

    run(go())


def test_a_restart_goes_on_where_the_last_commit_was(embedded: str) -> None:
    """A second worker decides only what is new, and with what the first left of the pools."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, [request(i, gpu_type="a100", gpu_hours=100.0) for i in range(4)])
        first = await drained(settings)
        await send(settings, [request(i, gpu_type="a100", gpu_hours=100.0) for i in range(4, 20)])

        second = await drained(settings)

        decisions = await decisions_of(settings)
        assert (first.account.decided, second.account.decided) == (4, 16)
        assert len(ids(decisions)) == len(set(ids(decisions))) == 20
        # 220 + 180 + 140 + 200 + 160 GPU-hours of a100, in whole hundreds a pool
        served = Counter(d["provider"] for d in decisions if d["status"] == "provisioning")
        assert served == {"akash": 2, "ionet": 1, "flux": 1, "aethir": 2, "vast": 1}

    run(go())


def test_two_shards_decide_everything_once(embedded: str) -> None:
    """0/2 and 1/2 together: each request once, each pool shared, batch ids apart."""

    async def go() -> None:
        settings = settings_for(embedded)
        keyed = [Message(request(i).value, str(i).encode()) for i in range(500)]
        await send(settings, keyed)

        workers = await asyncio.gather(*(drained(settings, shard=Shard(i, 2)) for i in range(2)))

        decisions = await decisions_of(settings)
        assert ids(decisions) == sorted(f"r{i}" for i in range(500))
        assert sum(w.account.decided for w in workers) == 500
        assert {d["batch_id"][:4] for d in decisions} == {"0/2-", "1/2-"}
        totals = [w.fleets.current.pool_capacity for w in workers]
        assert (totals[0] + totals[1]).tolist() == [220, 180, 150, 140, 200, 160, 240]

    run(go())


def test_a_shard_without_partitions_is_a_usage_error(embedded: str) -> None:
    """Shard 7/8 of a topic with four partitions says what N may be."""
    with pytest.raises(UsageError, match="expected N <= 4"):
        run(drained(settings_for(embedded), shard=Shard(7, 8)))


def test_a_stop_finishes_and_commits_what_is_in_flight(embedded: str) -> None:
    """After a stop in mid-run every consumed request is decided, and the next worker goes on."""

    async def go() -> None:
        settings = settings_for(embedded, batch=20)
        await send(settings, map(request, range(3000)))
        stop = asyncio.Event()
        worker = worker_for(settings, observers=[lambda _: stop.set()])

        await worker.run(stop)

        assert worker.account.in_flight == 0
        rest = await drained(settings)
        assert worker.account.decided + rest.account.decided == 3000
        assert ids(await decisions_of(settings)) == sorted(f"r{i}" for i in range(3000))

    run(go())


@pytest.mark.parametrize("room", [2**26, 20_000])
def test_a_stop_leaves_what_is_undecided_to_the_successor(embedded: str, room: int) -> None:
    """However much was read: at most what is being decided and committed is waited for."""

    async def go() -> None:
        settings = settings_for(embedded, batch=20, max_in_flight_bytes=room)
        await send(settings, map(request, range(3000)))
        stop = asyncio.Event()
        worker = worker_for(settings, observers=[lambda _: stop.set()])

        await worker.run(stop)

        # One batch was committed, one waited for that, one for its turn, one was being decided.
        assert worker.account.decided <= 4 * 20
        assert worker.account.in_flight == 0

    run(go())


def test_metrics_reconcile(embedded: str) -> None:
    """Consumed = decided + dead-lettered + in flight, by provider and reason too; lag is 0."""

    async def go() -> None:
        settings = settings_for(embedded)
        good = list(map(request, range(300)))
        await send(settings, [*good, Message(b"?", b"a100"), request(999, gpu_type="none")])
        seen: list[Committed] = []
        worker = worker_for(settings, observers=[seen.append])
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))

        async def caught_up() -> bool:
            return worker.account.decided == 301 and sum(worker.lag.values()) == 0

        await until(caught_up)
        stop.set()
        await running

        value = worker.metrics.value
        assert value("aurora_requests_consumed_total") == 302
        assert value("aurora_requests_decided_total") == 301
        assert value("aurora_requests_dead_lettered_total") == 1
        assert value("aurora_requests_in_flight") == 0
        assert value("aurora_dead_letters_total", reason="malformed") == 1
        failed = value("aurora_route_failures_total", provider="none", reason="no_viable_provider")
        assert failed == 1
        assert sum(d.decisions.num_rows for d in seen) == 301
        assert all((d.durations > 0).all() for d in seen)

    run(go())


def test_little_room_in_flight_slows_down_and_loses_nothing(embedded: str) -> None:
    """With room for a few records only, batches close early and everything is decided."""

    async def go() -> None:
        settings = settings_for(embedded, batch=10_000, max_in_flight_bytes=2000)
        await send(settings, map(request, range(500)))

        worker = await drained(settings)

        assert worker.account.decided == 500

    run(go())


def test_micro_batches_are_whole_while_there_is_no_room(embedded: str) -> None:
    """The open one waits until those before it leave, and is not closed for want of room."""
    sizes: list[int] = []

    async def go() -> None:
        settings = settings_for(embedded, max_in_flight_bytes=1_500_000)
        batch = BatchSettings(max_requests=40, linger_ms=60_000)
        settings = replace(settings, router=RouterSettings(batch=batch))
        # A partition brings some 50 of these at once, so there is no room again and again.
        await send(settings, (request(i, note="x" * 20_000) for i in range(520)))
        await drained(settings, observers=[lambda done: sizes.append(done.decisions.num_rows)])

    run(go())

    assert sizes == [40] * 13


def test_nothing_is_read_while_there_is_no_room(
    embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that leaves too much in flight lets nothing more in."""
    looks: list[bool] = []
    polled_while_full: list[bool] = []
    full, poll = Session._full, Source.poll

    def look(session: Session) -> bool:
        looks.append(full(session))
        return looks[-1]

    async def watched(source: Source, timeout_s: float) -> Merged:
        polled_while_full.append(looks[-1])
        return await poll(source, timeout_s)

    monkeypatch.setattr(Session, "_full", look)
    monkeypatch.setattr(Source, "poll", watched)

    async def go() -> None:
        settings = settings_for(embedded, batch=20, max_in_flight_bytes=2000)
        # Several times what a partition brings at once, which is 1 MiB.
        await send(settings, (request(i, note="x" * 20_000) for i in range(500)))
        await drained(settings)

    run(go())

    assert any(looks)
    assert not any(polled_while_full)


def test_no_broker_is_one_line_that_says_what_to_do() -> None:
    """Where nothing listens, the worker ends at once."""
    with pytest.raises(BrokerError, match=r"no broker answers at 127\.0\.0\.1:1; start one"):
        run(drained(settings_for("127.0.0.1:1")))


def test_decisions_do_not_depend_on_how_partitions_were_polled(embedded: str) -> None:
    """The same batch, its partitions arriving in another order, has the same decisions."""

    async def go() -> None:
        settings = settings_for(embedded, batch=10_000)
        # Scarce, so that order decides; spread over partitions by key.
        scarce = [request(i, gpu_type="a100", gpu_hours=5.0 + i % 7) for i in range(300)]
        spread = [Message(m.value, str(i % 8).encode()) for i, m in enumerate(scarce)]
        await send(settings, spread)

        records = await records_of(settings, settings.kafka.topics.requests)
        made = []
        for arranged in (records, sorted(records, key=lambda r: (-r.partition, r.offset))):
            opened = MicroBatch(settings.router.batch, lambda: 0.0)
            opened.add(Merged.of(Records.of(arranged)))
            (batch,) = opened.take()
            state = router.initial_state(default_fleet(), settings)
            made.append(
                engine.decide(
                    batch.records,
                    engine.decode(batch.records, settings),
                    default_fleet(),
                    state,
                    settings,
                )
            )
        assert made[0].decisions.to_table().equals(made[1].decisions.to_table())

    run(go())
