"""Shards: what each owns, what all agree on, and a change of that."""

import asyncio

import msgspec
import pytest

from aurora_batch import snapshots
from aurora_batch.adapters.kafka import partition_of_key
from aurora_batch.errors import BrokerError, UsageError
from aurora_batch.settings import ProviderSettings, Settings
from pipelines import resplit
from pipelines.resplit import Part
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

GPUS = ("a100", "h100", "4090", "a6000", "t4")


def _keyed(bootstrap: str = "a:1", *, shared: bool = False) -> Settings:
    """Settings whose producers key by GPU type; one provider, with a pool for each or for all."""
    provider = ProviderSettings(
        base_price_usd_per_hour=dict.fromkeys(GPUS, 1.0),
        base_latency_ms=100.0,
        capacity_gpu_hours_per_step=50.0 if shared else dict.fromkeys(GPUS, 10.0),
        reputation=90.0,
    )
    settings = settings_for(bootstrap, split="gpu_type")
    return msgspec.structs.replace(settings, providers={"one": provider})


def test_shards_share_partitions_and_capacity() -> None:
    """Every partition has one owner, and the parts of a pool make the whole."""
    shards = [Shard.parse(f"{i}/3") for i in range(3)]

    owned = [p for shard in shards for p in shard.partitions(7)]
    parts = [shard.share(settings_for("a:1")).providers["akash"] for shard in shards]

    assert sorted(owned) == list(range(7))
    assert sum(p.capacity_gpu_hours_per_step for p in parts) == pytest.approx(220)


def test_a_pool_belongs_to_the_shard_that_reads_its_gpu_type() -> None:
    """As a whole, and to the shard of the partition that its key is sent to."""
    for i in range(3):
        part = Shard(i, 3).share(_keyed()).providers["one"].capacity_gpu_hours_per_step
        own = {g for g in GPUS if partition_of_key(g.encode(), 4) % 3 == i}
        assert part == {g: 10.0 if g in own else 0.0 for g in GPUS}


def test_a_pool_of_several_shards_is_refused() -> None:
    """All of them would spend it."""
    with pytest.raises(UsageError, match=r"providers\.one has one capacity .* by GPU type"):
        Shard(0, 2).share(_keyed(shared=True))


def test_a_worker_that_would_divide_otherwise_does_not_start(embedded: str) -> None:
    """Another number of shards, or another split, than the first worker began with."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(60)))
        await drained(settings, shard=Shard(0, 2))
        for other in (Shard(0, 3), Shard()):
            with pytest.raises(BrokerError, match="agreed on 2 shards of 4 partitions, equal"):
                await drained(settings, shard=other)
        kafka = msgspec.structs.replace(settings.kafka, split="gpu_type")
        keyed = msgspec.structs.replace(_keyed(embedded), kafka=kafka)
        with pytest.raises(BrokerError, match="pools by GPU type"):
            await drained(keyed, shard=Shard(1, 2))
        await drained(settings, shard=Shard(1, 2))
        assert len(await decisions_of(settings)) == 60

    run(go())


def test_workers_that_start_together_agree(embedded: str) -> None:
    """All at once, on topics where nobody has been."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(90)))
        await asyncio.gather(*(drained(settings, shard=Shard(i, 3)) for i in range(3)))
        assert len(await decisions_of(settings)) == 90

    run(go())


def test_a_new_division_keeps_what_is_left(embedded: str) -> None:
    """In mid-window: pools and budgets of the new shards add up to what the old ones left."""

    async def go() -> None:
        settings = settings_for(embedded)
        cluster = cluster_of(settings)
        assert await resplit.divide(cluster, settings, None) == (None, None)
        await send(settings, (request(i, gpu_hours=1.0) for i in range(120)))
        await asyncio.gather(*(drained(settings, shard=Shard(i, 2)) for i in range(2)))
        before = await _left(settings, 2)

        known, now = await resplit.divide(cluster, settings, 3)

        assert known is not None
        assert now is not None
        assert (known.shards, now.shards) == (2, 3)
        after = await _left(settings, 3)
        assert after == pytest.approx(before, rel=1e-9)
        assert all(after[p] <= before[p] for p in before)
        assert not await _left(settings, 2)
        with pytest.raises(BrokerError, match="agreed on 3 shards"):
            await drained(settings, shard=Shard(0, 2))
        await send(settings, (request(i, gpu_hours=1.0) for i in range(200, 260)))
        await asyncio.gather(*(drained(settings, shard=Shard(i, 3)) for i in range(3)))
        served = sum(d["provider"] is not None for d in await decisions_of(settings))
        whole = sum(p.capacity_gpu_hours_per_step for p in settings.providers.values())
        assert sum((await _left(settings, 3)).values()) == pytest.approx(whole - served)

    run(go())


async def _left(settings: Settings, shards: int) -> dict[str, float]:
    """GPU-hours left of each pool, all shards together."""
    saved = {r.key: r.value for r in await records_of(settings, settings.kafka.topics.ledger)}
    left: dict[str, float] = {}
    for i in range(shards):
        part = Part.of(Shard(i, shards), settings)
        if (value := saved.get(part.identity().encode())) is not None:
            ledger = snapshots.restore(value, part.settings).ledger
            for pool, hours in zip(ledger.pool_ids, ledger.pool_left.tolist(), strict=True):
                left[pool] = left.get(pool, 0.0) + hours
    return left
