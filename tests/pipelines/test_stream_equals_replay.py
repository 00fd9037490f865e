"""A decision is the same wherever it is made: through a broker, or from a file."""

from pathlib import Path

import msgspec
import pytest

from aurora_batch import schema, workload
from aurora_batch.adapters.outputs import DecisionWriter, RequestWriter
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.replies import Message
from aurora_batch.settings import BatchSettings
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
