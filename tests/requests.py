"""Small canonical request tables for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from aurora_batch.schema import REQUEST_SCHEMA

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Event time, seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return canonical requests; what a row does not say is ordinary."""
    usual = {
        "workload_type": "general",
        "gpu_type": "a100",
        "region": "global",
        "gpu_hours": 1.0,
        "priority": 1.0,
        "requested_at": NOON,
    }
    full = [{"request_id": f"r{i}", **usual, **row} for i, row in enumerate(rows)]
    columns = [pa.array([row.get(f.name) for row in full], f.type) for f in REQUEST_SCHEMA]
    return pa.table(columns, schema=REQUEST_SCHEMA)
