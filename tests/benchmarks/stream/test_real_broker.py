"""The stream's benchmark at a real broker, at its smallest."""

import json
from pathlib import Path

import pytest

from benchmarks.stream import __main__ as command
from tests.broker import Broker

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(300)
def test_a_backlog_and_a_rate_are_measured(
    kafka_broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many decisions as requests, by a peer; by the worker, every request has a time."""
    small = ["--seconds", "1", "--warm", "0.5", "--count", "20000", "--rates", "500"]
    cells = ["--only", "aiokafka,latency-5"]
    where = ["--kafka", kafka_broker.bootstrap, "--out", str(tmp_path), "--quiet", "--json"]

    assert command.main([*small, *cells, *where]) == 0

    found = json.loads(capsys.readouterr().out)
    for one in found["throughput"][0]:
        assert one["consumed"] == one["decided"] > 0
    (point,) = found["latency"][0]
    assert point["sustained"]
    assert 0 < point["p50"] <= point["p99"] <= point["p999"]
    assert next(tmp_path.glob("stream-*/latency.png")).stat().st_size
