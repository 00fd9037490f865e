"""Good and bad JSON payloads, one list for the decoder, its naive twin and the JSON Schema."""

import json
from typing import Any

from aurora_batch.model import Fault

NOON = "2026-01-01T12:00:00Z"


def request(name: str = "bad", **fields: Any) -> dict[str, Any]:
    """Return a request; `...` takes a member out."""
    usual = {"request_id": name, "workload_type": "general", "gpu_type": "a100", "gpu_hours": 1.5}
    return {key: value for key, value in (usual | fields).items() if value is not ...}


def payload(name: str = "bad", **fields: Any) -> bytes:
    """Return a request as JSON."""
    return json.dumps(request(name, **fields)).encode()


def raw(member: str, text: str) -> bytes:
    """Return a request with one member's JSON text as given."""
    return payload(**{member: "@@"}).replace(b'"@@"', text.encode())


M, T, X, R = Fault.MALFORMED, Fault.WRONG_TYPE, Fault.MISSING_FIELD, Fault.OUT_OF_RANGE
DEEP = "[" * 100_000 + "]" * 100_000

# What is no request: name -> (payload, fault, part of the detail).
BAD: dict[str, tuple[bytes | None, Fault, str]] = {
    "tombstone": (None, M, "tombstone"),
    "empty": (b"", M, "truncated"),
    "blank": (b"  \n", M, "truncated"),
    "truncated": (payload()[:-5], M, "truncated"),
    "trailing garbage": (payload() + b" x", M, "trailing"),
    "two objects": (payload() + payload(), M, "trailing"),
    "trailing comma": (payload()[:-1] + b",}", M, "comma"),
    "single quotes": (payload().replace(b'"', b"'"), M, "keys"),
    "array": (b"[" + payload() + b"]", M, "expected a JSON object"),
    "number": (b"3", M, "expected a JSON object"),
    "null": (b"null", M, "expected a JSON object"),
    "text": (b"hello", M, "malformed"),
    "byte order mark": (b"\xef\xbb\xbf" + payload(), M, "byte 0"),
    "utf-16": (payload().decode().encode("utf-16"), M, "UTF-8"),
    "latin-1 value": (payload(tenant_id="@").replace(b"@", b"\xe9"), M, "UTF-8"),
    "latin-1 in unknown member": (payload(note="@").replace(b"@", b"\xe9"), M, "UTF-8"),
    "latin-1 key": (payload(note="x").replace(b"note", b"n\xe9te"), M, "UTF-8"),
    "lone surrogate": (raw("request_id", r'"\ud800"'), M, "escape"),
    "raw control character": (raw("request_id", '"a\nb"'), M, "invalid character"),
    "binary": (bytes(range(256)), M, ""),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(20), M, ""),
    "deep unknown member": (raw("note", DEEP), M, "nested"),
    "NaN": (raw("gpu_hours", "NaN"), M, "invalid character"),
    "Infinity": (raw("max_price", "Infinity"), M, "invalid character"),
    "-Infinity": (raw("priority", "-Infinity"), M, ""),
    "leading zero": (raw("gpu_hours", "01"), M, "invalid number"),
    "hexadecimal": (raw("gpu_hours", "0x10"), M, ""),
    "beyond float": (raw("gpu_hours", "1e400"), R, "got 1e400"),
    "huge integer": (raw("gpu_hours", "9" * 400), R, "gpu_hours: expected a finite number"),
    "no request_id": (payload(request_id=...), X, "request_id"),
    "no workload_type": (payload(workload_type=...), X, "workload_type"),
    "no gpu_type": (payload(gpu_type=...), X, "gpu_type"),
    "no gpu_hours": (payload(gpu_hours=...), X, "gpu_hours"),
    "nothing": (b"{}", X, "request_id"),
    "null request_id": (payload(request_id=None), X, "request_id"),
    "null gpu_hours": (payload(gpu_hours=None), X, "gpu_hours"),
    "null gpu_type": (payload(gpu_type=None), X, "gpu_type"),
    "number for request_id": (payload(request_id=7), T, "request_id: expected str, got 7"),
    "list for request_id": (payload(request_id=["a"]), T, "request_id"),
    "number for workload": (payload(workload_type=1), T, "workload_type"),
    "text for gpu_hours": (payload(gpu_hours="1"), T, 'gpu_hours: expected float, got'),
    "bool for gpu_hours": (payload(gpu_hours=True), T, "gpu_hours"),
    "object for max_price": (payload(max_price={}), T, "max_price"),
    "number for gpu_type": (payload(gpu_type=4090), T, "gpu_type"),
    "object for gpu_type": (payload(gpu_type={"a": 1}), T, "gpu_type"),
    "number in gpu list": (payload(gpu_type=["a100", 1]), T, "gpu_type"),
    "null in gpu list": (payload(gpu_type=["a100", None]), T, "gpu_type"),
    "deep gpu list": (raw("gpu_type", DEEP), M, "nested"),
    "list for weights": (payload(weights=[1, 2, 3, 4]), T, "weights"),
    "text in weights": (payload(weights={"price": "1"}), T, "weights.price"),
    "number for requested_at": (payload(requested_at=1767268800), T, "requested_at"),
    "time without offset": (payload(requested_at=NOON[:-1]), T, "offset"),
    "date only": (payload(requested_at="2026-01-01"), T, "RFC 3339"),
    "time in words": (payload(requested_at="yesterday"), T, "RFC 3339"),
    "time in Arabic digits": (payload(requested_at=NOON.replace("1", "\u0661")), T, "RFC 3339"),
    "zero hours": (payload(gpu_hours=0), R, "gpu_hours: expected a number > 0 and <= 1e+09"),
    "endless hours": (payload(gpu_hours=1e308), R, "gpu_hours"),
    "endless priority": (payload(priority=1e10), R, "priority"),
    "negative hours": (payload(gpu_hours=-3), R, "got -3"),
    "negative zero hours": (raw("gpu_hours", "-0.0"), R, "gpu_hours"),
    "negative price": (payload(max_price=-0.01), R, "max_price"),
    "zero latency": (payload(max_latency_ms=0), R, "max_latency_ms"),
    "reputation of 101": (payload(min_reputation=101), R, "from 0 to 100"),
    "negative reputation": (payload(min_reputation=-1), R, "min_reputation"),
    "zero priority": (payload(priority=0), R, "priority"),
    "negative weight": (payload(weights={"price": -0.1}), R, "weights.price"),
    "weight above 1": (payload(weights={"latency": 1.1}), R, "weights.latency"),
    "all weights zero": (
        payload(weights=dict.fromkeys(("price", "latency", "reputation", "availability"), 0)),
        R, "all zero",
    ),
    "empty request_id": (payload(request_id=""), R, "1 to 128"),
    "long request_id": (payload(request_id="x" * 129), R, "1 to 128"),
    "line break in request_id": (payload(request_id="a\nb"), R, "control"),
    "line break at the end": (payload(request_id="a\n"), R, "control"),
    "NUL in request_id": (payload(request_id="a\0b"), R, "control"),
    "C1 control in tenant_id": (payload(tenant_id="a\x85b"), R, "control"),
    "line separator in region": (payload(region="a\u2028b"), R, "control"),
    "empty tenant_id": (payload(tenant_id=""), R, "tenant_id"),
    "empty workload": (payload(workload_type=""), R, "workload_type"),
    "empty region": (payload(region="  "), R, "region"),
    "long region": (payload(region="r" * 129), R, "region"),
    "1 MB of text": (payload(workload_type="w" * 1_000_000), R, "workload_type"),
    "empty gpu": (payload(gpu_type=""), R, "gpu_type"),
    "no letter in gpu": (payload(gpu_type=" -/- "), R, "gpu_type"),
    "no letter in gpu, printable": (payload(gpu_type="@"), R, "gpu_type"),
    "nothing in gpu list": (payload(gpu_type=["@", "_"]), R, "gpu_type"),
    "empty gpu list": (payload(gpu_type=[]), R, "gpu_type"),
    "gpu list of nothing": (payload(gpu_type=["", "-"]), R, "gpu_type"),
    "1 MB of gpu": (payload(gpu_type="g" * 1_000_000), R, "gpu_type"),
    "30 February": (payload(requested_at="2026-02-30T00:00:00Z"), R, "requested_at"),
    "leap second": (payload(requested_at="2016-12-31T23:59:60Z"), R, "requested_at"),
    "hour 24": (payload(requested_at="2026-01-01T24:00:00Z"), R, "requested_at"),
    "year 9999": (payload(requested_at="9999-12-31T23:59:59Z"), R, "requested_at"),
    "year 0000": (payload(requested_at="0000-01-01T00:00:00Z"), R, "requested_at"),
    "year 1": (payload(requested_at="0001-01-01T00:00:00+23:59"), R, "requested_at"),
    "offset of 99 hours": (payload(requested_at="2026-01-01T00:00:00+99:00"), R, "requested_at"),
    "before the epoch": (payload(requested_at="1969-12-31T23:59:59Z"), R, "requested_at"),
    "2 MB": (payload(note="n" * 2_000_000), Fault.TOO_LARGE, "1048576 bytes"),
    "2 MB of garbage": (b"x" * 2_000_000, Fault.TOO_LARGE, "bytes"),
}  # fmt: skip

# What is one, whatever it looks like.
GOOD: dict[str, bytes] = {
    "least": payload(),
    "all": payload(
        tenant_id="t", region="eu-west-1", max_price=2, max_latency_ms=1e3, min_reputation=100,
        weights={"price": 1, "latency": 0, "reputation": 0.5, "availability": 0},
        priority=2, requested_at=NOON,
    ),
    "nulls": payload(
        tenant_id=None, region=None, max_price=None, max_latency_ms=None, min_reputation=None,
        weights=None, priority=None, requested_at=None,
    ),
    "zero weight, others open": payload(weights={"price": 0, "latency": 0}),
    "null weights": payload(weights={"price": None, "latency": 0.5}),
    "no weights": payload(weights={}),
    "unknown gpu": payload(gpu_type="quantum 9000"),
    "unknown region": payload(region="moon-1"),
    "vendor prefix": payload(gpu_type="NVIDIA GeForce RTX 4090"),
    "any of": payload(gpu_type=["RTX4090", "A100", "a100"]),
    "any of, as text": payload(gpu_type="h100|A100"),
    "anywhere": payload(region=" Global "),
    "emoji": payload(request_id="žluťoučký 🐎", tenant_id="東京"),
    "128 characters": payload(request_id="é" * 128),
    "escapes": raw("request_id", r'"\u0061\ud83d\ude00\/\""'),
    "unknown members": payload(note="hi", extra={"a": [1, 2]}, weights={"prise": 9}),
    "duplicate member": raw("gpu_hours", '9, "gpu_hours": 2'),
    "integer beyond 2**53": raw("max_price", str(2**60 + 1)),
    "denormal": raw("gpu_hours", "5e-324"),
    "white space": b" \n" + payload().replace(b":", b" :\t") + b"\r\n ",
    "offset": payload(requested_at="2026-01-01T14:00:00+02:00"),
    "negative offset": payload(requested_at="2025-12-31T23:59:59.5-23:59"),
    "small letters": payload(requested_at="2026-01-01t12:00:00z"),
    "nanoseconds": payload(requested_at="2026-01-01T12:00:00.123456789Z"),
    "29 February": payload(requested_at="2024-02-29T12:00:00Z"),
    "29 February 2000": payload(requested_at="2000-02-29T12:00:00.25Z"),
}  # fmt: skip
