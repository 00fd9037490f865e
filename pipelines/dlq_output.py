"""Dead letters on a terminal, as lines, and as JSON."""

import base64
import json
import sys
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aurora_batch.dead_letters import DeadLetter
from aurora_batch.schema import rfc3339
from aurora_batch.schema.arrow_reading import is_arrow, open_ipc
from aurora_batch.schema.blocks import Unreadable
from pipelines.redrive import Plan, Scan

COLUMNS = ("when", "code", "original", "bytes", "again", "reason")
SHOWN = 20_000  # characters of a payload
_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))}


def _safe(text: str) -> str:
    """Return text that cannot move a terminal's cursor: payloads are anybody's."""
    return text.translate(_CONTROLS)


def _object(letter: DeadLetter, redriven: set[str]) -> dict[str, Any]:
    source = letter.source
    return {
        "at": rfc3339(letter.record.timestamp_us),
        "code": letter.code,
        "topic": source.topic,
        "partition": source.partition,
        "offset": source.offset,
        "row": source.row,
        "reason": letter.detail,
        "bytes": letter.size,
        "schema_version": letter.schema_version,
        "recorded_at": rfc3339(letter.requested_us),
        "cut_from_bytes": letter.cut_from,
        "redriven": letter.identity in redriven,
        "redriven_from": letter.redriven_from,
        "dead_letter": {"partition": letter.record.partition, "offset": letter.record.offset},
    }


def _cells(letter: DeadLetter, redriven: set[str]) -> list[str]:
    again = "sent" if letter.identity in redriven else "-"
    when = rfc3339(letter.record.timestamp_us) or "-"
    cells = (when, letter.code, str(letter.source), str(letter.size), again, letter.detail)
    return [_safe(cell) for cell in cells]


def listed(found: Scan, *, as_json: bool) -> None:
    """Print one dead letter a line; a table on a terminal."""
    if as_json:
        for letter in found.letters:
            sys.stdout.write(json.dumps(_object(letter, found.redriven)) + "\n")
    elif sys.stdout.isatty():
        table = Table(box=None, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="right" if name == "bytes" else "left")
        for letter in found.letters:
            # Not markup: a reason may hold brackets.
            table.add_row(*map(Text, _cells(letter, found.redriven)))
        Console().print(table)
    else:
        for letter in found.letters:
            sys.stdout.write("\t".join(_cells(letter, found.redriven)) + "\n")


def summed(found: Scan, *, as_json: bool) -> None:
    """Print how many letters of each code there are; beside lines in a pipe, to stderr."""
    counts = Counter(letter.code for letter in found.letters)
    if as_json:
        said = {"letters": counts.total(), "codes": dict(sorted(counts.items()))}
        sys.stdout.write(json.dumps(said) + "\n")
        return
    for code, count in counts.most_common():
        sys.stderr.write(f"{count:8,}  {_safe(code)}\n")
    sys.stderr.write(f"{counts.total():8,}  dead letters\n")


def shown(found: Scan, *, as_json: bool) -> None:
    """Print everything about each letter."""
    for letter in found.letters:
        said = _object(letter, found.redriven)
        said["key"] = _text(letter.record.key)
        said["headers"] = {name: _text(value) for name, value in letter.own_headers}
        if as_json:
            value = letter.record.value
            encoded = None if value is None else base64.b64encode(value).decode()
            sys.stdout.write(json.dumps({**said, "value_base64": encoded}) + "\n")
            continue
        for name, value in said.items():
            if value not in (None, {}):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                sys.stdout.write(f"{name:16}{_safe(text)}\n")
        sys.stdout.write(f"\n{_payload(letter)}\n")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _payload(letter: DeadLetter) -> str:
    """Return the original bytes for a person: JSON and rows laid out, the rest escaped."""
    value = letter.record.value
    if value is None:
        return "(no value: a tombstone)"
    text = "\n".join(map(_safe, _laid_out(letter, value).splitlines()))
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}\n... {len(text) - SHOWN:,} characters more; --json has all bytes"


def _laid_out(letter: DeadLetter, value: bytes) -> str:
    if is_arrow(letter.record.headers):
        try:
            rows = open_ipc(value).to_pylist()
            return json.dumps(rows, indent=2, ensure_ascii=False, default=str)
        except (Unreadable, ValueError, OverflowError):
            return value[:SHOWN].hex(" ")
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return value.decode(errors="backslashreplace")


def redriven(plan: Plan, topic: str, *, done: bool, as_json: bool) -> None:
    """Print what was, or would be, sent again, and what became of the rest."""
    sent = len(plan.identities)
    if as_json:
        rows = [
            {"outcome": outcome, "code": code, "letters": count}
            for (outcome, code), count in sorted(plan.outcomes.items())
        ]
        said = {"done": done, "sent": sent if done else 0, "to_send": sent, "outcomes": rows}
        sys.stdout.write(json.dumps(said) + "\n")
        return
    for (outcome, code), count in sorted(plan.outcomes.items()):
        if outcome != "send":
            sys.stdout.write(f"{count:8,}  {_safe(code)}: not sent, {outcome}\n")
    for (outcome, code), count in sorted(plan.outcomes.items()):
        if outcome == "send":
            sys.stdout.write(f"{count:8,}  {_safe(code)}: {'sent' if done else 'would be sent'}\n")
    if done:
        sys.stdout.write(f"{sent:,} dead letters sent again to {topic}\n")
    else:
        sys.stdout.write(f"{sent:,} dead letters would be sent again; --yes sends them\n")
