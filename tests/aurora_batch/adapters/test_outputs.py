"""Outputs: every layout, whole or not at all."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from aurora_batch import decisions
from aurora_batch.adapters.outputs import DecisionWriter, RequestWriter
from aurora_batch.errors import LogError
from aurora_batch.model import Fault, Policy
from aurora_batch.schema import DECISION_SCHEMA, Rejection


@pytest.fixture
def decided() -> pa.Table:
    """Two decisions."""
    bad = [Rejection(i, None, Fault.MALFORMED, 'say "what"', f"r{i}") for i in range(2)]
    return decisions.rejected(bad, Policy.GLOBAL)


def write(path: Path, *tables: pa.Table) -> None:
    """Write decisions."""
    with DecisionWriter(path) as out:
        for table in tables:
            out.write(table)


def test_parquet_and_arrow_hold_the_columns(tmp_path: Path, decided: pa.Table) -> None:
    """The decision schema is kept as it is."""
    write(tmp_path / "d.parquet", decided, decided)
    write(tmp_path / "d.arrow", decided)

    assert pq.read_table(tmp_path / "d.parquet").equals(pa.concat_tables([decided, decided]))
    assert pa.ipc.open_file(tmp_path / "d.arrow").read_all().equals(decided)


def test_ndjson_holds_an_object_a_line(tmp_path: Path, decided: pa.Table) -> None:
    """Every line stands alone."""
    write(tmp_path / "d.ndjson", decided)

    rows = [json.loads(line) for line in (tmp_path / "d.ndjson").read_text().splitlines()]
    assert [row["request_id"] for row in rows] == ["r0", "r1"]
    assert rows[0]["blocked_by"] == ['say "what"']


def test_csv_holds_lists_as_json(tmp_path: Path, decided: pa.Table) -> None:
    """One row a decision, lists as JSON text, null as nothing."""
    write(tmp_path / "d.csv", decided)

    rows = list(csv.DictReader((tmp_path / "d.csv").read_text().splitlines()))
    assert [row["request_id"] for row in rows] == ["r0", "r1"]
    assert json.loads(rows[0]["blocked_by"]) == ['say "what"']
    assert rows[0]["provider"] == ""
    assert list(rows[0]) == DECISION_SCHEMA.names


@pytest.mark.parametrize("extension", ["parquet", "ndjson", "csv", "arrow", "arrows"])
def test_no_rows_are_an_empty_table(tmp_path: Path, extension: str) -> None:
    """An output without rows is complete all the same."""
    write(tmp_path / f"d.{extension}")

    assert (tmp_path / f"d.{extension}").is_file()


def test_a_failure_leaves_what_was_there(tmp_path: Path, decided: pa.Table) -> None:
    """Nothing half-written appears, and nothing is lost."""
    path = tmp_path / "d.parquet"
    write(path, decided)
    before = path.read_bytes()

    with pytest.raises(KeyboardInterrupt), DecisionWriter(path) as out:  # noqa: PT012
        out.write(decided)
        raise KeyboardInterrupt

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path, decided: pa.Table) -> None:
    """The file that a link names is replaced, not the link."""
    (tmp_path / "link.parquet").symlink_to(tmp_path / "d.parquet")
    write(tmp_path / "link.parquet", decided)

    assert (tmp_path / "link.parquet").is_symlink()
    assert pq.read_table(tmp_path / "d.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("d.xlsx", "expected one of .parquet"),
        ("d", "expected one of .parquet"),
        ("missing/d.parquet", "No such file or directory"),
        ("folder.parquet", "not a regular file"),
        ("device.csv", "not a regular file"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(tmp_path: Path, name: str, says: str) -> None:
    """The error comes before the work."""
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/full")

    with pytest.raises(LogError, match=says), RequestWriter(tmp_path / name):
        pytest.fail("the work started")
