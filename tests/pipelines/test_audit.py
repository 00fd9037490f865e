"""What was decided live can be decided again, from the log and what the decisions carry."""

from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from aurora_batch import engine, schema, workload
from aurora_batch.adapters.kafka import Reader, Sink
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.schema import ARROW_CONTENT_TYPE, Message
from aurora_batch.settings import Settings, SolverSettings
from aurora_batch.trail import Trail, trail_in
from pipelines import audit
from pipelines.audit import AuditError, made_again
from pipelines.shards import Shard
from tests.streaming import (
    cluster_of,
    decisions_of,
    drained,
    records_of,
    request,
    run,
    send,
    settings_for,
)


def _changed(settings: Settings, **router: Any) -> Settings:
    return msgspec.structs.replace(
        settings, router=msgspec.structs.replace(settings.router, **router)
    )


def _messages(settings: Settings, n: int, seed: int = 3) -> list[Message]:
    fleet = fleet_from_settings(settings.providers)
    requests = workload.stress(fleet, n, seed=seed, load=3.0, per_window=n // 3)
    keys = requests["gpu_type"].to_pylist()
    values = schema.encode_requests_json(requests)
    return [Message(v, (k or "any").encode()) for v, k in zip(values, keys, strict=True)]


async def _audited(settings: Settings) -> audit.Audited:
    return await audit.audit(cluster_of(settings), settings)


def test_live_decisions_are_made_again_byte_for_byte(embedded: str) -> None:
    """Two shards, restarts in mid-window, bad requests and Arrow payloads among them."""

    async def go() -> audit.Audited:
        settings = settings_for(embedded, batch=70)
        messages = _messages(settings, 900)
        fleet = fleet_from_settings(settings.providers)
        packed = schema.encode_arrow(workload.stress(fleet, 40, seed=8, load=1.0, per_window=40))
        headers = (("content-type", ARROW_CONTENT_TYPE.encode()),)
        for low in range(0, 900, 300):
            await send(settings, messages[low : low + 300])
            await send(settings, [Message(b"{", b"a100"), Message(packed, b"x", headers)])
            for i in range(2):
                await drained(settings, shard=Shard(i, 2))
        return await _audited(settings)

    found = run(go())
    assert not found.differences
    assert (found.shards, found.dead_letters) == (2, 3)
    assert found.decisions > 900
    assert found.micro_batches > 12


def test_solves_that_the_clock_ended_end_there_again(
    embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine so slow that the safety net strikes each solve."""
    monkeypatch.setattr(engine, "SAFETY", 1e-9)

    async def go() -> audit.Audited:
        settings = settings_for(embedded, batch=150)
        await send(settings, _messages(settings, 900))
        await drained(settings)
        monkeypatch.setattr(engine, "SAFETY", 1e9)
        return await _audited(settings)

    found = run(go())
    assert found.struck > 2
    assert not found.differences


def test_what_is_not_the_same_is_told(embedded: str) -> None:
    """A decision that is on its topic twice: its batch differs."""

    async def go() -> audit.Audited:
        settings = settings_for(embedded)
        await send(settings, map(request, range(300)))
        await drained(settings)
        topic = settings.kafka.topics.decisions
        twice = next(r for r in await records_of(settings, topic) if not r.headers)
        await _put(settings, Message(twice.value, twice.key))
        return await _audited(settings)

    found = run(go())
    assert len(found.differences) == 1
    assert "committed" in found.differences[0]


def test_other_settings_are_refused(embedded: str) -> None:
    """Rather than called a difference."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(50)))
        await drained(settings)
        solver = SolverSettings(target_gap=0.5)
        with pytest.raises(AuditError, match="was decided with settings"):
            await _audited(_changed(settings, solver=solver))

    run(go())


def test_a_missing_batch_is_noticed(embedded: str) -> None:
    """Where the first decisions are gone, what follows cannot be made again."""

    async def go() -> None:
        settings = settings_for(embedded, batch=100)
        await send(settings, map(request, range(300)))
        await drained(settings)
        trails = await _trails(settings)
        assert len(trails) >= 3
        requests = settings.kafka.topics.requests
        async with Reader(cluster_of(settings), requests, from_start=True) as reader:
            with pytest.raises(AuditError, match="a batch is missing"):
                async for _ in made_again(reader, Shard(), [trails[0], *trails[2:]], settings):
                    pass

    run(go())


def test_nothing_to_audit_is_not_called_the_same(embedded: str) -> None:
    """An audit that compared nothing has shown nothing."""
    with pytest.raises(AuditError, match="nothing was decided there yet"):
        run(_audited(settings_for(embedded)))


def test_requests_that_are_gone_are_no_difference(embedded: str) -> None:
    """What the broker no longer has cannot be decided again."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(60)))
        await drained(settings)
        trails = await _trails(settings)
        # As if the batch had begun before the first request that is left.
        moved = {p: (low - 1, high) for p, (low, high) in trails[0].offsets.items()}
        gone = msgspec.structs.replace(trails[0], offsets=moved)
        requests = settings.kafka.topics.requests
        async with Reader(cluster_of(settings), requests, from_start=True) as reader:
            with pytest.raises(AuditError, match="no longer on their topic"):
                async for _ in made_again(reader, Shard(), [gone], settings):
                    pass

    run(go())


def test_what_no_worker_sent_is_named(embedded: str) -> None:
    """With its place, rather than a traceback."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(60)))
        await drained(settings)
        await _put(settings, Message(b"not a decision", b"k"))
        with pytest.raises(AuditError, match=r"aurora\.decisions/\d at offset \d+ is nothing"):
            await _audited(settings)

    run(go())


def test_the_trail_is_on_one_message_of_a_micro_batch(embedded: str) -> None:
    """Its offsets tile the topic, its certificates are those of the decisions."""

    async def go() -> tuple[list[Trail], list[dict[str, Any]]]:
        settings = settings_for(embedded, batch=100)
        await send(settings, map(request, range(300)))
        await drained(settings)
        return await _trails(settings), await decisions_of(settings)

    trails, decisions = run(go())
    batches = [b for t in trails for b in t.batches]
    assert {b.id for b in batches} == {d["batch_id"] for d in decisions}
    assert sum(b.requests for b in batches) == len(decisions)
    for partition in range(4):
        spans = sorted(t.offsets[partition] for t in trails if partition in t.offsets)
        assert all(a[1] == b[0] for a, b in pairwise(spans))


async def _trails(settings: Settings) -> list[Trail]:
    records = await records_of(settings, settings.kafka.topics.decisions)
    return sorted((t for r in records if (t := trail_in(r.headers))), key=lambda t: t.begins)


async def _put(settings: Settings, message: Message) -> None:
    """Put a message on the topic of decisions that no worker sent."""
    cluster, topic = cluster_of(settings), settings.kafka.topics.decisions
    async with AsyncExitStack() as stack:
        sink = Sink(cluster, await cluster.partitions([topic]))
        stack.push_async_callback(sink.close)
        await sink.open()
        await sink.send(sink.stage({topic: [message]}))
