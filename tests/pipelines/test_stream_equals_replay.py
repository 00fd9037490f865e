"""A decision is the same wherever it is made: through a broker, or from a file."""

from pathlib import Path

import msgspec
import pytest

from aurora_batch import schema, workload
from aurora_batch.adapters.embedded import EmbeddedBroker
from aurora_batch.adapters.outputs import DecisionWriter, RequestWriter
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.schema import Message
from aurora_batch.settings import BatchSettings, Topics
from pipelines.contestants import contestants
from pipelines.playback import play
from tests.streaming import drained, records_of, run, send, settings_for


@pytest.mark.parametrize("policy", list(Policy))
def test_stream_and_replay_decide_alike(embedded: str, tmp_path: Path, policy: Policy) -> None:
    """The same requests in the same batches: byte for byte the same decisions.

    All requests have one key, so that they come back in the order of the log, and batches close on
    their count alone.
    """
    settings = settings_for(embedded)
    batch = BatchSettings(max_requests=150, linger_ms=3_600_000)
    changed = msgspec.structs.replace(settings.router, batch=batch, policy=policy)
    settings = msgspec.structs.replace(settings, router=changed)
    fleet = fleet_from_settings(settings.providers)
    requests = workload.stress(fleet, 700, seed=11, load=1.5, per_window=700)
    log, out = tmp_path / "log.parquet", tmp_path / "decisions.ndjson"
    with RequestWriter(log) as writer:
        writer.write(requests)
    with DecisionWriter(out) as decisions:
        alone = contestants(policy, settings, as_live=True)
        play(log, alone, fleet, write=decisions.write, as_live=True)

    async def stream() -> list[bytes | None]:
        await send(settings, [Message(v, b"key") for v in schema.encode_requests_json(requests)])
        await drained(settings)
        return [r.value for r in await records_of(settings, settings.kafka.topics.decisions)]

    assert run(stream()) == out.read_bytes().splitlines()


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(50, [550, 300, 350]), (3, [549, 6, 3, 6, 3, 9, 300, 324])],
    ids=["prices charged at once", "prices asked for and not yet charged"],
)
def test_a_worker_that_takes_over_decides_as_if_none_had_stopped(
    size: int, pieces: list[int]
) -> None:
    """In mid-window, from the ledger and the log alone, with reserve prices in force."""

    async def stream(broker: str, pieces: list[int]) -> list[bytes | None]:
        settings = settings_for(broker)
        batch = BatchSettings(max_requests=size, linger_ms=3_600_000)
        changed = msgspec.structs.replace(settings.router, batch=batch)
        settings = msgspec.structs.replace(settings, router=changed)
        fleet = fleet_from_settings(settings.providers)
        requests = workload.stress(fleet, 1_200, seed=5, load=3.0, per_window=400)
        messages = [Message(v, b"key") for v in schema.encode_requests_json(requests)]
        done = 0
        for piece in pieces:
            await send(settings, messages[done : done + piece])
            await drained(settings)
            done += piece
        return [r.value for r in await records_of(settings, settings.kafka.topics.decisions)]

    topics = [getattr(Topics(), name) for name in Topics.__struct_fields__]
    with EmbeddedBroker(topics) as broker:
        at_once = run(stream(broker.bootstrap, [1_200]))
    with EmbeddedBroker(topics) as broker:
        taken_over = run(stream(broker.bootstrap, pieces))

    assert taken_over == at_once
    assert any(b"below_reserve_price" in (said or b"") for said in at_once)
