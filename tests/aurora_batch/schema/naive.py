"""The decoder's slow twin: `json` and one check after the other, a request at a time."""

import json
import math
import re
import sys
from datetime import UTC, datetime
from typing import Any

from aurora_batch.model import WEIGHTS, Fault, normalize_gpus

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:]{8})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Bad(Exception):
    """Carries the fault."""


def _refuse(text: str) -> None:
    raise Bad(Fault.MALFORMED)


def read(payload: bytes | None) -> dict[str, Any] | Fault:
    """Return a request as canonical values (None: nothing said), or what is wrong with it."""
    try:
        return _read(payload)
    except Bad as bad:
        return bad.args[0]  # type: ignore[no-any-return]


def _read(payload: bytes | None) -> dict[str, Any]:
    if payload is None:
        raise Bad(Fault.MALFORMED)
    if len(payload) > 2**20:
        raise Bad(Fault.TOO_LARGE)
    try:
        said = json.loads(payload.decode("utf-8"), parse_constant=_refuse)
        payload.decode()
        json.dumps(said, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Bad(Fault.MALFORMED) from None
    if not isinstance(said, dict):
        raise Bad(Fault.MALFORMED)
    # Types come first, then values, as they do where a request is read before it is checked.
    return _checked(_typed(said))


def _typed(said: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        **dict.fromkeys(("request_id", "workload_type", "tenant_id", "region"), str),
        **dict.fromkeys(("gpu_hours", "max_price", "max_latency_ms", "min_reputation"), float),
        "priority": float, "requested_at": str, "weights": dict, "gpu_type": (str, list),
    }  # fmt: skip
    faults = set()
    request: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = said.get(name)
        if value is None and name in ("request_id", "workload_type", "gpu_type", "gpu_hours"):
            faults.add(Fault.MISSING_FIELD)
        request[name] = _as(value, kind, faults) if value is not None else None
    if isinstance(request["weights"], dict):
        given = {name: request["weights"].get(name) for name in WEIGHTS}
        request["weights"] = {
            n: v if v is None else _as(v, float, faults) for n, v in given.items()
        }
    if isinstance(request["gpu_type"], list):
        if not all(isinstance(name, str) for name in request["gpu_type"]):
            faults.add(Fault.WRONG_TYPE)
        else:
            request["gpu_type"] = "|".join(request["gpu_type"])
    if faults:
        raise Bad(*faults)
    return request


def _as(value: Any, kind: Any, faults: set[Fault]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 10**308 else math.inf
    if not isinstance(value, kind):
        faults.add(Fault.WRONG_TYPE)
    return value


def _checked(request: dict[str, Any]) -> dict[str, Any]:
    request["region"] = "global" if request["region"] is None else request["region"].strip(" ")
    if request["region"].lower() == "global":
        request["region"] = "global"
    for name in ("request_id", "tenant_id", "workload_type", "region", "gpu_type"):
        _text(request[name], 256 if name == "gpu_type" else 128)
    request["gpu_type"] = normalize_gpus(request["gpu_type"])
    request["priority"] = 1.0 if request["priority"] is None else request["priority"]
    for name in ("gpu_hours", "max_price", "max_latency_ms", "priority"):
        most = 1e9 if name in ("gpu_hours", "priority") else sys.float_info.max
        _require(request[name] is None or 0 < request[name] <= most)
    _require(request["min_reputation"] is None or 0 <= request["min_reputation"] <= 100)
    _require(request["gpu_type"] != "")
    weights = list((request["weights"] or {}).values())
    _require(all(w is None or 0 <= w <= 1 for w in weights))
    _require(not weights or any(w != 0 for w in weights))
    if all(w is None for w in weights):
        request["weights"] = None
    if request["requested_at"] is not None:
        request["requested_at"] = _time(request["requested_at"])
    return request


def _require(true: bool) -> None:
    if not true:
        raise Bad(Fault.OUT_OF_RANGE)


def _text(value: str | None, longest: int) -> None:
    _require(value is None or (1 <= len(value) <= longest and not CONTROL.search(value)))


def _time(text: str) -> datetime:
    match = TIME.fullmatch(text)
    if not match:
        raise Bad(Fault.WRONG_TYPE)
    day, clock, fraction, offset = match.groups()
    micro = (fraction or "").ljust(6, "0")[:6]
    try:
        time = datetime.strptime(
            f"{day} {clock}.{micro} {offset.upper()}", "%Y-%m-%d %H:%M:%S.%f %z"
        )
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Bad(Fault.OUT_OF_RANGE) from None
    _require(1970 <= time.year < 2200)
    return time
