"""Tables to files: Parquet, NDJSON, CSV, Arrow IPC, told by the extension.

An output appears under its name when it is complete, or not at all: it is written beside and
renamed. What stood there before stays until then.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from aurora_batch import schema
from aurora_batch.adapters.files import EXTENSIONS, Format
from aurora_batch.errors import LogError
from aurora_batch.schema import DECISION_SCHEMA, REQUEST_SCHEMA

FLUSH_ROWS = 65_536  # rows of a row group, or of an Arrow record batch

# How columns go into Parquet, where a third of a replay's time goes. Values that are mostly
# distinct get no dictionary, a hash is not compressed (from 36 to 17 bytes at 80 ns a row), and
# least and largest are noted of times only, by which readers skip row groups. Leaves by name.
_DISTINCT = frozenset(
    {"request_id", "decision_id", "cost_usd", "score", "gpu_hours", "requested_at"}
)
_RANDOM = frozenset({"decision_id"})
_RANGES = frozenset({"requested_at", "window", "decided_at"})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write in the place of `path`; it takes the name when the block ends well.

    Raises `LogError` at once where the folder is missing or no file can be made in it, so that a
    long run does not fail at its end. An exception leaves what stood there before.
    """
    if path.exists() and not path.is_file():
        raise LogError(f"{path} cannot be written: not a regular file")
    final = path.resolve()  # a link stays a link
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    with _writing(path):
        partial.touch()
    try:
        yield partial
        with _writing(path):
            partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


class TableWriter:
    """A context manager that writes tables of one schema to `path`, told by its extension.

    Raises `LogError` on entering where the extension says nothing or the file cannot be made (see
    `replacing`). Rows are held back until there are `FLUSH_ROWS`.
    """

    def __init__(
        self, path: Path, kind: pa.Schema, to_json: Callable[[pa.Table], list[bytes]]
    ) -> None:
        self.path = path
        self._kind, self._to_json = kind, to_json
        self._stack = ExitStack()
        self._sink: Any = None
        self._file: Any = None
        self._held: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> Self:
        layout = EXTENSIONS.get(self.path.suffix.lower())
        if layout is None:
            known = ", ".join(EXTENSIONS)
            raise LogError(f"{self.path}: the extension says no layout; expected one of {known}")
        with ExitStack() as stack:
            partial = stack.enter_context(replacing(self.path))
            with _writing(self.path):
                self._sink = stack.enter_context(pa.OSFile(str(partial), "wb"))
                self._file = _open(layout, self._sink, self._kind, self._to_json)
            self._stack = stack.pop_all()
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._held.append(table)
        self._rows += table.num_rows
        if self._rows >= FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._rows = self._held, [], 0
        if not held:
            return
        table = pa.concat_tables(held)
        if not isinstance(self._file, pq.ParquetWriter):  # which takes pieces as they are
            table = table.combine_chunks()
        with _writing(self.path):
            for low in range(0, table.num_rows, FLUSH_ROWS):
                self._file.write_table(table.slice(low, FLUSH_ROWS))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
            with _writing(self.path):
                self._file.close()
                self._sink.close()
        except BaseException:
            self._stack.__exit__(*sys.exc_info())
            raise
        self._stack.__exit__(kind, error, trace)


class DecisionWriter(TableWriter):
    """Writes decisions (`schema.DECISION_SCHEMA`); lists are JSON text in CSV."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, DECISION_SCHEMA, _lines)


def _lines(decisions: pa.Table) -> list[bytes]:
    lines: list[bytes] = schema.encode_json(schema.Decisions.of(decisions)).to_pylist()
    return lines


class RequestWriter(TableWriter):
    """Writes a request log (`schema.REQUEST_SCHEMA`); weights in CSV are `weights.price` etc."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, REQUEST_SCHEMA, schema.encode_requests_json)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        hint = "make the folder, or name a path that can be written"
        raise LogError(f"{path} cannot be written: {why}; {hint}") from error


def _open(
    layout: Format, sink: Any, kind: pa.Schema, to_json: Callable[[pa.Table], list[bytes]]
) -> Any:
    match layout:
        case Format.PARQUET:
            return _parquet(sink, kind)
        case Format.NDJSON:
            return _NdjsonFile(sink, to_json)
        case Format.CSV:
            return _CsvFile(sink, kind)
        case Format.ARROW_FILE:
            return pa.ipc.new_file(sink, kind)
        case Format.ARROW_STREAM:
            return pa.ipc.new_stream(sink, kind)


def _parquet(sink: Any, kind: pa.Schema) -> pq.ParquetWriter:
    leaves = [path for field in kind for path in _leaves(field.name, field.type)]
    return pq.ParquetWriter(
        sink,
        kind,
        compression={path: "none" if path in _RANDOM else "zstd" for path in leaves},
        use_dictionary=[path for path in leaves if path.split(".")[-1] not in _DISTINCT],
        write_statistics=[path for path in leaves if path in _RANGES],
    )


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Yield the paths of the columns that Parquet makes of a field."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path


class _NdjsonFile:
    def __init__(self, sink: Any, to_json: Callable[[pa.Table], list[bytes]]) -> None:
        self._sink, self._to_json = sink, to_json

    def write_table(self, table: pa.Table) -> None:
        lines = self._to_json(table)
        self._sink.write(b"\n".join([*lines, b""]))

    def close(self) -> None:
        """Nothing is held back."""


class _CsvFile:
    def __init__(self, sink: Any, kind: pa.Schema) -> None:
        self._file = pyarrow.csv.CSVWriter(sink, _as_text(kind.empty_table()).schema)

    def write_table(self, table: pa.Table) -> None:
        self._file.write_table(_as_text(table))

    def close(self) -> None:
        self._file.close()


def _as_text(table: pa.Table) -> pa.Table:
    """Return the table as CSV can hold it: structs as columns, lists as JSON, times as RFC 3339."""
    table = table.flatten()
    for at, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        if pa.types.is_list(kind):
            texts = (msgspec.json.encode(row).decode() for row in table[name].to_pylist())
            table = table.set_column(at, name, pa.array(texts, pa.string()))
        elif pa.types.is_timestamp(kind):
            texts = pc.strftime(table[name], "%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(at, name, texts)
    return table
