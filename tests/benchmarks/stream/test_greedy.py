"""The peers decide as the documented `greedy` does, so that they do the same job."""

import json

import pytest

from aurora_batch import schema, workload
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.settings import Settings
from aurora_batch.settings_types import to_plain
from benchmarks.stream.peers.greedy import Greedy
from tests.pipelines.greedy_reference import greedy


@pytest.mark.parametrize("load", [0.2, 1.2, 5.0])
def test_peers_choose_as_documented(load: float) -> None:
    """Choice by choice over several windows, with plenty of capacity and with little."""
    settings = Settings()
    fleet = fleet_from_settings(settings.providers)
    requests = workload.stress(fleet, 3_000, seed=3, load=load, per_window=1_000)
    plain = to_plain(settings)
    peer = Greedy(plain["providers"], plain["router"])

    decided = [peer.decide(json.loads(v)) for v in schema.encode_requests_json(requests)]

    chosen = [(d["provider"], d["gpu_type"]) if "provider" in d else None for d in decided]
    assert chosen == greedy(requests.to_pylist(), settings)
    assert [d["request_id"] for d in decided] == requests["request_id"].to_pylist()
    assert {d["status"] for d in decided} <= {"provisioning", "no_capacity", "rejected"}
