"""Text logs in bounded memory: lines of a file in blocks, and blocks of CSV lines as columns.

A line that is broken costs itself, never its neighbours: that is why CSV is cut into lines before
it is parsed (one stray quote would swallow everything up to the next), and why a quoted value
cannot hold a line break.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from aurora_batch.errors import LogError
from aurora_batch.model import WEIGHTS, Fault
from aurora_batch.schema import REQUEST_SCHEMA, WEIGHTS_TYPE, Rejection
from aurora_batch.schema.fields import MAX_JSON_BYTES, shown

BLOCK_BYTES = 4 * 2**20
MAX_LINE_BYTES = MAX_JSON_BYTES
_BOM = b"\xef\xbb\xbf"
_NUMBER = r"^(?i)[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
_FLAT_WEIGHTS = {
    f"weights{separator}{name}": f"weights.{name}" for name in WEIGHTS for separator in "._"
}
_NUMERIC = {
    *(field.name for field in REQUEST_SCHEMA if pa.types.is_floating(field.type)),
    *_FLAT_WEIGHTS.values(),
}


def blocks(path: Path, *, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[list[bytes], int]]:
    """Yield (lines without their ends, bytes of the file read so far), blank lines left out.

    Holds about two blocks. A line longer than `MAX_LINE_BYTES` is cut to one byte more than that,
    so that whoever parses it can tell.
    """
    with path.open("rb") as file:
        rest = file.read(len(_BOM)).removeprefix(_BOM)
        while block := file.read(block_bytes):
            *lines, rest = (rest + block).split(b"\n")
            rest = rest[: MAX_LINE_BYTES + 1]  # an endless line must not gather in memory
            yield _tidy(lines), file.tell()
        yield _tidy([rest]), file.tell()


def _tidy(lines: list[bytes]) -> list[bytes]:
    return [line[: MAX_LINE_BYTES + 1] for line in map(bytes.strip, lines) if line]


@dataclass(frozen=True)
class Columns:
    """CSV lines as columns: the rows that could be read, where they were, and the others."""

    table: pa.Table  # named as in REQUEST_SCHEMA, castable to it
    index: list[int]  # position of each row among the lines, ascending
    rejections: list[Rejection]  # ascending by index


def parse_csv(header: bytes, lines: list[bytes]) -> Columns:
    """Parse CSV lines under `header`; an empty value is null, a row that fits nothing is rejected.

    Weights are columns `weights.price` or `weights_price` and so on, or one column `weights` that
    holds a JSON object.
    """
    rejections = [r for i, line in enumerate(lines) if (r := _fault_of_line(i, line))]
    table, index = _rows(header, lines, rejections)
    for name in sorted(_NUMERIC.intersection(table.column_names)):
        table = _number(table, name, index, rejections)
    table = join_weights(_parse_weights(table, index, rejections))
    if not rejections:
        return Columns(table, index, [])
    first = {r.index: r for r in reversed(rejections)}
    keep = [at for at, i in enumerate(index) if i not in first]
    return Columns(
        table.take(pa.array(keep, pa.int64())),
        [index[at] for at in keep],
        [first[i] for i in sorted(first)],
    )


def _fault_of_line(index: int, line: bytes) -> Rejection | None:
    if len(line) > MAX_LINE_BYTES:
        detail = f"line: expected at most {MAX_LINE_BYTES} bytes"
        return Rejection(index, None, Fault.TOO_LARGE, detail, None)
    if line.count(b'"') % 2:
        return Rejection(index, None, Fault.MALFORMED, "line: a quote is not closed", None)
    if not line.isascii() and line != line.decode(errors="ignore").encode():
        return Rejection(index, None, Fault.MALFORMED, "line: not UTF-8", None)
    return None


def _rows(
    header: bytes, lines: list[bytes], rejections: list[Rejection]
) -> tuple[pa.Table, list[int]]:
    """Return columns of text (empty: null) and their lines; rows of another width are rejected."""
    bad = {r.index for r in rejections}
    index = [i for i in range(len(lines)) if i not in bad]
    ragged = set()

    def skip(row: Any) -> str:
        at = row.number - 2  # counted from 1, and the header is one
        ragged.add(at)
        detail = f"line: expected {row.expected_columns} values, got {row.actual_columns}"
        rejections.append(Rejection(index[at], None, Fault.MALFORMED, detail, None))
        return "skip"

    names = columns_of(header)
    table = pyarrow.csv.read_csv(
        pa.py_buffer(b"\n".join([header, *(lines[i] for i in index), b""])),
        # One thread: only then are the rows numbered.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, column_names=names, skip_rows=1, block_size=2**30
        ),
        parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""],
            strings_can_be_null=True, quoted_strings_can_be_null=True,
        ),
    )  # fmt: skip
    return table, [i for at, i in enumerate(index) if at not in ragged]


def columns_of(header: bytes) -> list[str]:
    """Return the names of the columns, `weights_price` and the like as `weights.price`.

    Raises `LogError` where a name occurs twice.
    """
    names = next(csv.reader([header.decode(errors="replace")]), [])
    names = [_FLAT_WEIGHTS.get(name.strip(), name.strip()) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise LogError(f"the header names the column {name!r} twice")
    return names


def _number(table: pa.Table, name: str, index: list[int], rejections: list[Rejection]) -> pa.Table:
    """Return the table with text column `name` as float64; what is no number is null, rejected."""
    at, text = table.column_names.index(name), pc.utf8_trim_whitespace(table[name])
    try:
        return table.set_column(at, name, pc.cast(text, pa.float64()))
    except pa.ArrowInvalid:
        good = pc.match_substring_regex(text, _NUMBER)
    for row in pc.indices_nonzero(pc.invert(good)).to_pylist():
        rejections.append(_misfit(table, row, index, f"{name}: expected a number", name))
    numbers = pc.cast(pc.if_else(good, text, None), pa.float64())
    return table.set_column(at, name, numbers)


def join_weights(table: pa.Table) -> pa.Table:
    """Return the table with columns `weights.price` and so on joined to one struct `weights`."""
    names = [f"weights.{weight}" for weight in WEIGHTS]
    said = [name for name in names if name in table.column_names]
    if not said:
        return table
    columns = [
        table[name].combine_chunks() if name in said else pa.nulls(table.num_rows, pa.float64())
        for name in names
    ]
    nothing = reduce(pc.and_, map(pc.is_null, columns))
    struct = pa.StructArray.from_arrays(columns, names=WEIGHTS, mask=nothing)
    return table.drop_columns(said).append_column("weights", struct)


def _parse_weights(table: pa.Table, index: list[int], rejections: list[Rejection]) -> pa.Table:
    """Return the table with the JSON text in `weights`, if it is there, as a struct."""
    if "weights" not in table.column_names:
        return table
    text = table["weights"].combine_chunks().dictionary_encode()
    parsed = [_object(value) for value in text.dictionary.to_pylist()]
    bad = {i for i, value in enumerate(parsed) if value is None}
    for row, code in enumerate(text.indices.to_pylist() if bad else ()):
        if code in bad:
            detail = "weights: expected a JSON object of numbers"
            rejections.append(_misfit(table, row, index, detail, "weights"))
    struct = pa.array(parsed, WEIGHTS_TYPE).take(text.indices)
    return table.set_column(table.column_names.index("weights"), "weights", struct)


def _object(text: str) -> dict[str, float | None] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, float | None])
    except msgspec.MsgspecError:
        return None


def _misfit(table: pa.Table, row: int, index: list[int], expected: str, name: str) -> Rejection:
    got = shown(table[name][row].as_py())
    known = "request_id" in table.column_names
    request_id = table["request_id"][row].as_py() if known else None
    return Rejection(index[row], None, Fault.WRONG_TYPE, f"{expected}, got {got}", request_id)
