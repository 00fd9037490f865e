"""`aurora topics`, `produce` and `tail` from outside."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurora_batch.settings import Settings
from aurora_batch.workload import generate
from tests import requests
from tests.broker import Broker
from tests.streaming import decisions_of, drained, records_of, run, settings_for


def aurora(
    *arguments: str, environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run `aurora` and return what it said."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("payload", ["json", "arrow"])
def test_a_log_goes_in_and_decisions_come_out(embedded: str, tmp_path: Path, payload: str) -> None:
    """Produce, decide, tail: every request of the log has its decision, in either form."""
    log = generate(Settings(), steps=20, seed=1)
    pq.write_table(log, tmp_path / "log.parquet")
    kafka = ("--kafka", embedded)

    sent = aurora("produce", str(tmp_path / "log.parquet"), *kafka, "--payload", payload, "--json")
    run(drained(settings_for(embedded)))
    count = str(log.num_rows)
    tail = aurora("tail", *kafka, "--from-start", "--count", count, "--json")
    lines = aurora("tail", *kafka, "--from-start", "--count", "2")

    assert json.loads(sent.stdout)["sent"] == log.num_rows
    decisions = [json.loads(line) for line in tail.stdout.splitlines()]
    assert sorted(d["request_id"] for d in decisions) == sorted(log["request_id"].to_pylist())
    assert all(d["window"].endswith("Z") for d in decisions)
    assert len(lines.stdout.splitlines()) == 2


def test_produce_keys_by_gpu_and_leaves_bad_rows_out(embedded: str, tmp_path: Path) -> None:
    """What competes meets in one partition; a row that is no request is counted, not sent."""
    rows = requests.table([{"gpu_type": g} for g in ("a100", "h100", "a100")])
    bad = rows.set_column(5, rows.schema.field(5), pa.array([1.0, 2.0, -1.0]))
    pq.write_table(bad, tmp_path / "log.parquet")

    done = aurora("produce", str(tmp_path / "log.parquet"), "--kafka", embedded)

    assert "2 requests sent to aurora.requests" in done.stdout
    assert "1 rows left out" in done.stdout
    settings = settings_for(embedded)
    asked = run(records_of(settings, settings.kafka.topics.requests))
    assert {r.key for r in asked} == {b"a100", b"h100"}
    assert run(decisions_of(settings)) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("produce", "no.parquet", "--rate", "0"), 2, "--rate 0: expected a number > 0"),
        (("produce", "no.parquet"), 1, "no.parquet"),
        (("tail", "--count", "0"), 2, "--count 0: expected a number >= 1"),
        (("tail", "--kafka", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1"),
        (("topics", "create", "--kafka", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1"),
        (("topics", "create", "--partitions", "0"), 2, "kafka.partitions"),
    ],
)
def test_what_is_wrong_is_one_line(
    embedded: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Exit 2 where used wrongly, 1 where something fails; one line, no traceback."""
    kafka = () if "--kafka" in arguments else ("--kafka", embedded)
    done = aurora(*arguments, *kafka)

    (line,) = done.stderr.splitlines()
    assert (done.returncode, said in line) == (code, True), line


def test_the_broker_comes_from_the_flag_then_the_variable(embedded: str) -> None:
    """`--kafka` wins over `AURORA_KAFKA`; what is wrong names where it was said."""
    tail = ("tail", "--count", "1")
    away = {"AURORA_KAFKA": "127.0.0.1:1"}

    assert "answers at 127.0.0.1:1;" in aurora(*tail, environ=away).stderr
    assert "AURORA_KAFKA: kafka.bootstrap" in aurora(*tail, environ={"AURORA_KAFKA": "x"}).stderr
    assert "--kafka: kafka.bootstrap" in aurora(*tail, "--kafka", "x", environ=away).stderr
    silent = ("--set", "kafka.topics.decisions=none.such")
    said = aurora(*tail, "--kafka", embedded, *silent, environ=away).stderr
    assert f"topic none.such does not exist at {embedded}" in said


@pytest.mark.kafka
def test_topics_are_created_and_said(kafka_broker: Broker) -> None:
    """Five topics; a second time they are left as they are."""
    names = [f"--set=kafka.topics.{n}=cli.{n}" for n in ("requests", "decisions", "dead_letters")]
    command = ("topics", "create", "--kafka", kafka_broker.bootstrap, *names)

    first, second = aurora(*command), aurora(*command)

    assert first.stdout.count("\tcreated") + first.stdout.count("\texisted") == 5
    assert second.stdout.count("\texisted already") == 5
