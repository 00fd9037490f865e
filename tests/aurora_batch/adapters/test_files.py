"""Logs of every layout: the same rows, in bounded pieces, and clear errors."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from aurora_batch import workload
from aurora_batch.adapters import outputs
from aurora_batch.adapters.files import Chunk, Format, format_of, read_requests
from aurora_batch.adapters.outputs import RequestWriter
from aurora_batch.errors import LogError
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Fault

EXTENSIONS = ("parquet", "ndjson", "jsonl", "json", "csv", "arrow", "feather", "arrows")
HEADER = "request_id,workload_type,gpu_type,gpu_hours,requested_at,weights\n"


def read(path: Path, **options: int) -> list[Chunk]:
    """All chunks of a log."""
    return list(read_requests(path, **options))


def requests(path: Path, **options: int) -> pa.Table:
    """All valid rows of a log."""
    return pa.concat_tables([c.decoded.requests for c in read(path, **options)])


def faults(path: Path, **options: int) -> list[tuple[int, Fault]]:
    """Row in the log and code of all rejections."""
    first, found = 0, []
    for chunk in read(path, **options):
        found += [(first + r.index, r.fault) for r in chunk.decoded.rejections]
        first += chunk.rows
    return found


def written(path: Path, log: pa.Table) -> Path:
    """Write a log."""
    with RequestWriter(path) as out:
        out.write(log)
    return path


@pytest.fixture(scope="module")
def log() -> pa.Table:
    """Requests with limits, weights and lists of GPU types, some of them null."""
    return workload.stress(default_fleet(), 1_000, seed=3)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_is_written_is_read(tmp_path: Path, log: pa.Table, extension: str) -> None:
    """A log survives each layout bit for bit, in pieces too."""
    path = written(tmp_path / f"log.{extension}", log)

    assert requests(path).equals(log)
    chunks = read(path, chunk_rows=300)
    assert [c.rows for c in chunks] == [300, 300, 300, 100]
    assert pa.concat_tables([c.decoded.requests for c in chunks]).equals(log)
    assert chunks[-1].done == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("extension", ["parquet", "ndjson", "arrow", "arrows"])
def test_content_decides_before_the_name(tmp_path: Path, log: pa.Table, extension: str) -> None:
    """A log under a wrong name is read by its first bytes."""
    path = written(tmp_path / f"log.{extension}", log)

    assert requests(path.rename(tmp_path / "log.csv")).equals(log)


def test_csv_is_told_by_its_name(tmp_path: Path) -> None:
    """CSV has no mark of its own."""
    path = tmp_path / "log.csv"
    path.write_text("request_id,gpu_type\n")

    assert format_of(path) is Format.CSV


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("log.parquet", None, "no such file"),
        ("log.ndjson", b"", "is empty"),
        ("log.dat", b"what is this", "neither Parquet"),
        ("log.parquet", b"no magic", "does not begin"),
        ("log.parquet", b"PAR1 but no more than that PAR1", "cannot be read"),
        ("log.arrow", b"ARROW1\0\0broken", "cannot be read"),
        ("log.arrows", b"\xff\xff\xff\xff\x10\0\0\0broken", "cannot be read"),
    ],
)
def test_a_log_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    """Missing, empty, unknown and damaged logs are one clear line."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(LogError, match=says):
        read(path)


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    """A folder is named as such."""
    with pytest.raises(LogError, match="is a folder"):
        read(tmp_path)


def test_bad_json_lines_cost_themselves(tmp_path: Path) -> None:
    """Neighbours of malformed lines are read, whatever piece they fall into."""
    good = '{"request_id": "r%d", "workload_type": "general", "gpu_type": "A100", "gpu_hours": 1}'
    lines = [
        good % 0,
        '{"request_id": "cut',
        "[]",
        good % 1,
        '{"gpu_hours": NaN}',
        "\xff",
        good % 2,
    ]
    path = tmp_path / "log.ndjson"
    path.write_bytes("\r\n\n".join(lines).encode("latin-1"))

    assert requests(path)["request_id"].to_pylist() == ["r0", "r1", "r2"]
    assert [row for row, _ in faults(path)] == [1, 2, 4, 5]
    assert faults(path, chunk_rows=2) == faults(path)


def test_an_endless_line_is_too_large(tmp_path: Path) -> None:
    """A line of many megabytes costs itself and no memory of its size."""
    good = b'{"request_id": "r%d", "workload_type": "general", "gpu_type": "t4", "gpu_hours": 1}\n'
    path = tmp_path / "log.ndjson"
    path.write_bytes(good % 0 + b'{"request_id": "' + b"x" * 20_000_000 + b'"}\n' + good % 1)

    assert requests(path)["request_id"].to_pylist() == ["r0", "r1"]
    assert faults(path) == [(1, Fault.TOO_LARGE)]


def test_bad_csv_lines_cost_themselves(tmp_path: Path) -> None:
    """Ragged rows, open quotes, words for numbers, bad bytes and bad weights: each is one row."""
    rows = [
        b"r0,general,a100,1,2026-01-01T00:00:00Z,",
        b"r1,general,a100",
        b'r2,"general,a100,1,,',
        b"r3,general,a100,many,,",
        b"r4,general,a100,1,2026-01-01T00:00:07Z,",
        b"r5\xff,general,a100,1,,",
        b'r6,general,a100,1,,"{""price"": ""much""}"',
        b"r7,general,a100,-1,,",
        b"r8,general,a100,1,,",
    ]
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER.encode() + b"\n".join(rows))

    read_rows = requests(path)
    assert read_rows["request_id"].to_pylist() == ["r0", "r4", "r8"]
    assert read_rows["requested_at"][2].as_py() == datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
    assert faults(path) == [
        (1, Fault.MALFORMED),
        (2, Fault.MALFORMED),
        (3, Fault.WRONG_TYPE),
        (5, Fault.MALFORMED),
        (6, Fault.WRONG_TYPE),
        (7, Fault.OUT_OF_RANGE),
    ]
    assert faults(path, chunk_rows=1) == faults(path)


def test_csv_takes_weights_in_three_forms(tmp_path: Path) -> None:
    """`weights.price`, `weights_price` and a JSON object say the same."""
    rest = "request_id,workload_type,gpu_type,gpu_hours"
    texts = [
        f"{rest},weights.price,weights.latency\nr,general,a100|h100,1,0.5,\ns,general,t4,1,,\n",
        f"{rest},weights_price,weights_latency\nr,general,a100|h100,1,0.5,\ns,general,t4,1,,\n",
        f'{rest},weights\nr,general,a100|h100,1,"{{""price"": 0.5}}"\ns,general,t4,1,\n',
    ]
    tables = []
    for at, text in enumerate(texts):
        path = tmp_path / f"{at}.csv"
        path.write_text(text)
        tables.append(requests(path))

    assert tables[0]["weights"].to_pylist()[0]["price"] == 0.5
    assert tables[0]["weights"].to_pylist()[1] is None
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_rows_without_a_time_take_the_one_before(tmp_path: Path) -> None:
    """The time carries over from piece to piece."""
    row = {"workload_type": "general", "gpu_type": "t4", "gpu_hours": 1}
    rows = [{"request_id": str(i), **row} for i in range(5)]
    rows[1]["requested_at"] = "2026-01-01T00:00:09Z"
    path = tmp_path / "log.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))

    times = requests(path, chunk_rows=2)["requested_at"].cast(pa.int64()).to_pylist()
    assert times == requests(path)["requested_at"].cast(pa.int64()).to_pylist()
    assert times == [0] + [1_767_225_609_000_000] * 4


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    """Nobody can say which of the two is meant."""
    path = tmp_path / "log.csv"
    path.write_text("request_id,gpu_type,request_id\nr,a100,s\n")

    with pytest.raises(LogError, match="'request_id' twice"):
        read(path)


@pytest.mark.parametrize("extension", ["parquet", "ndjson", "csv", "arrow", "arrows"])
def test_memory_is_a_piece_not_the_log(
    tmp_path: Path, log: pa.Table, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Arrow holds while reading does not grow with the log."""
    monkeypatch.setattr(outputs, "FLUSH_ROWS", 5_000)
    whole = pa.concat_tables([log] * 100)
    path = written(tmp_path / f"log.{extension}", whole)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_requests(path, chunk_rows=1_000)]

    assert max(held) < whole.nbytes / 3
