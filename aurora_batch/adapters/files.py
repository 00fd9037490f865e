"""Request logs from files: Parquet, NDJSON, CSV, Arrow IPC; in bounded memory.

A log is told by its first bytes, else by its extension. Reading holds a chunk at a time, whatever
the length of the log (of an Arrow file: a record batch at a time).
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import structs

from aurora_batch import schema
from aurora_batch.adapters import lines
from aurora_batch.errors import LayoutError, LogError
from aurora_batch.schema import REQUEST_SCHEMA, Decoded

CHUNK_ROWS = 65_536
MOST_BLOCKS = 16  # blocks of `lines.BLOCK_BYTES` that a chunk of text may take


class Format(StrEnum):
    """Layout of a log."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW_FILE = "arrow"
    ARROW_STREAM = "arrows"


EXTENSIONS = {
    ".parquet": Format.PARQUET, ".pq": Format.PARQUET,
    ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".json": Format.NDJSON,
    ".csv": Format.CSV,
    ".arrow": Format.ARROW_FILE, ".feather": Format.ARROW_FILE, ".ipc": Format.ARROW_FILE,
    ".arrows": Format.ARROW_STREAM,
}  # fmt: skip
_MAGIC = {
    b"PAR1": Format.PARQUET,
    b"ARROW1": Format.ARROW_FILE,
    b"\xff\xff\xff\xff": Format.ARROW_STREAM,
    b"{": Format.NDJSON,
}
_TEXT = (Format.NDJSON, Format.CSV)


@dataclass(frozen=True)
class Chunk:
    """Some rows of a log, decoded."""

    decoded: Decoded  # positions count from the first row of the chunk
    rows: int  # of the log; valid and rejected ones
    done: float  # share of the log read so far, 0..1


def format_of(path: Path) -> Format:
    """Return the layout of an existing log; raises `LogError` where there is none to read."""
    with _reading(path):
        if path.is_dir():
            raise LogError(f"{path} is a folder; expected a request log")
        with path.open("rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf")
    if not head:
        raise LogError(f"{path} is empty; expected a request log")
    for magic, layout in _MAGIC.items():
        if (head.lstrip() if layout in _TEXT else head).startswith(magic):
            return layout
    named = EXTENSIONS.get(path.suffix.lower())
    if named in _TEXT:
        return named
    if named is not None:
        raise LogError(f"{path} is named {path.suffix} but does not begin as such a file does")
    raise LogError(f"{path} is neither Parquet, NDJSON, CSV (named .csv) nor Arrow IPC")


def read_requests(
    path: Path,
    *,
    chunk_rows: int = CHUNK_ROWS,
    workloads: frozenset[str] | None = None,
) -> Generator[Chunk, None, None]:
    """Yield a log's requests in order, at most `chunk_rows` rows at a time.

    A row without `requested_at` takes the time of the row before it. Raises `LogError` where the
    file is missing, empty, damaged or of an unknown layout; a bad row is a rejection.
    """
    layout = format_of(path)
    read = {Format.PARQUET: _parquet, Format.NDJSON: _ndjson, Format.CSV: _csv}.get(layout, _ipc)
    last_us = 0
    with _reading(path):
        for chunk in read(path, chunk_rows, workloads):
            requests = _continue_time(chunk.decoded.requests, last_us)
            if requests.num_rows:
                last_us = requests["requested_at"][-1].value
            yield replace(chunk, decoded=replace(chunk.decoded, requests=requests))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise LogError(f"{path}: no such file; check the path") from None
    except LayoutError as error:
        raise LogError(f"{path}: {error}") from None
    except (OSError, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise LogError(f"{path} cannot be read: {why}") from error


def _continue_time(requests: pa.Table, last_us: int) -> pa.Table:
    """Give the rows that stand at the epoch for want of a row before them the time `last_us`."""
    at = requests["requested_at"].combine_chunks().cast(pa.int64()).to_numpy()
    if not last_us or not at.size or at[0]:
        return requests
    at = np.where(np.logical_or.accumulate(at != 0), at, last_us)
    column = requests.schema.get_field_index("requested_at")
    times = pa.array(at).cast(REQUEST_SCHEMA.field("requested_at").type)
    return requests.set_column(column, REQUEST_SCHEMA.field("requested_at"), times)


def _parquet(path: Path, chunk_rows: int, workloads: frozenset[str] | None) -> Iterator[Chunk]:
    # A buffer, or a column of a whole row group would be read at once.
    with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
        total, seen = file.metadata.num_rows, 0
        for batch in file.iter_batches(batch_size=chunk_rows, use_threads=False):
            seen += batch.num_rows
            yield _of_table(pa.Table.from_batches([batch]), seen / total, workloads)


def _ipc(path: Path, chunk_rows: int, workloads: frozenset[str] | None) -> Iterator[Chunk]:
    size = path.stat().st_size
    with pa.OSFile(str(path)) as source:
        for table, done in _gathered(_batches(source, size), chunk_rows):
            yield _of_table(table, done, workloads)


def _batches(source: Any, size: int) -> Iterator[tuple[pa.RecordBatch, float]]:
    """Yield record batches and the share of the file read so far."""
    if source.read(6) == b"ARROW1":
        file = pa.ipc.open_file(source)
        for i in range(file.num_record_batches):
            yield file.get_batch(i), (i + 1) / file.num_record_batches
    else:
        source.seek(0)
        for batch in pa.ipc.open_stream(source):
            yield batch, source.tell() / size


def _gathered(
    batches: Iterable[tuple[pa.RecordBatch, float]], rows: int
) -> Iterator[tuple[pa.Table, float]]:
    """Yield the batches as tables of exactly `rows` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    count, done = 0, 0.0
    for batch, done in batches:
        rest = batch
        while count + rest.num_rows >= rows:
            yield pa.Table.from_batches([*held, rest.slice(0, rows - count)]), done
            rest, held, count = rest.slice(rows - count), [], 0
        held.append(rest)
        count += rest.num_rows
    if count:
        yield pa.Table.from_batches(held), done


def _of_table(table: pa.Table, done: float, workloads: frozenset[str] | None) -> Chunk:
    decoded = schema.decode_table(table, workloads=workloads)
    return Chunk(decoded, table.num_rows, done)


def _ndjson(path: Path, chunk_rows: int, workloads: frozenset[str] | None) -> Iterator[Chunk]:
    for block, done in _lines(path, chunk_rows):
        yield Chunk(schema.decode_json(block, None, workloads=workloads), len(block), done)


def _csv(path: Path, chunk_rows: int, workloads: frozenset[str] | None) -> Iterator[Chunk]:
    header = next(_lines(path, 1), ([b""], 1.0))[0][0]
    for block, done in _lines(path, chunk_rows, skip=1):
        parsed = lines.parse_csv(header, block)
        decoded = schema.decode_table(parsed.table, workloads=workloads)
        index = np.array(parsed.index, np.int64)
        moved = [structs.replace(r, index=int(index[r.index])) for r in decoded.rejections]
        bad = sorted((*moved, *parsed.rejections), key=lambda r: r.index)
        decoded = replace(decoded, index=index[decoded.index], rejections=bad)
        yield Chunk(decoded, len(block), done)


def _lines(path: Path, rows: int, *, skip: int = 0) -> Iterator[tuple[list[bytes], float]]:
    """Yield `rows` lines at a time, fewer where they are very long, and the share read so far."""
    size = path.stat().st_size
    held: list[bytes] = []
    blocks = 0
    for block, seen in lines.blocks(path):
        held += block[skip:]
        skip = max(skip - len(block), 0)
        blocks += 1
        while len(held) >= rows or (held and (blocks >= MOST_BLOCKS or seen == size)):
            yield held[:rows], seen / size
            held, blocks = held[rows:], 0
