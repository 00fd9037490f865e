"""What comes out of the schema: the columns of requests and decisions, and rejections."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from aurora_batch.model import WEIGHTS, Fault

SCHEMA_VERSION = 1

WEIGHTS_TYPE = pa.struct([(name, pa.float64()) for name in WEIGHTS])

# Canonical form of requests: validated, normalised, defaults of the *format* filled in
# (region, priority, requested_at); limits and weights stay null where not said.
REQUEST_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("tenant_id", pa.string()),
        pa.field("workload_type", pa.string(), nullable=False),
        pa.field("gpu_type", pa.string(), nullable=False),  # normalised; any-of joined by "|"
        pa.field("region", pa.string(), nullable=False),
        pa.field("gpu_hours", pa.float64(), nullable=False),
        pa.field("max_price", pa.float64()),
        pa.field("max_latency_ms", pa.float64()),
        pa.field("min_reputation", pa.float64()),
        pa.field("weights", WEIGHTS_TYPE),
        pa.field("priority", pa.float64(), nullable=False),
        pa.field("requested_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

ALTERNATIVE_TYPE = pa.struct(
    [
        ("provider", pa.string()),
        ("gpu_type", pa.string()),
        ("price_usd_per_hour", pa.float64()),
        ("score", pa.float64()),
    ]
)

DECISION_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string()),  # null only where a rejected record had none
        pa.field("decision_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("provider", pa.string()),
        pa.field("gpu_type", pa.string()),
        pa.field("region", pa.string()),
        pa.field("price_usd_per_hour", pa.float64()),
        pa.field("estimated_latency_ms", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("blocked_by", pa.list_(pa.string()), nullable=False),
        pa.field("alternatives", pa.list_(ALTERNATIVE_TYPE), nullable=False),
        pa.field("batch_id", pa.string()),
        pa.field("window", pa.timestamp("us", tz="UTC")),
        pa.field("shadow_price", pa.float64()),
        pa.field("policy", pa.string()),
        pa.field("decided_at", pa.timestamp("us", tz="UTC")),
        pa.field("remedy", pa.string()),
    ]
)


# A struct, as it takes a fifth of the time to make of a frozen dataclass.
class Rejection(Struct, frozen=True, gc=False):
    """Why a record, or one row of its Arrow payload, is no request."""

    index: int  # position of the record (or of the row of a table) in the input
    row: int | None  # row within an Arrow payload
    fault: Fault
    detail: str  # "gpu_hours: expected a number > 0, got -3"
    request_id: str | None  # where it could be read


@dataclass(frozen=True)
class Decoded:
    """What a call decoded: every input row is either in `requests` or in `rejections`."""

    requests: pa.Table  # REQUEST_SCHEMA, valid rows in input order
    index: NDArray[np.int64]  # record (or table row) that each of them came in
    rejections: list[Rejection]  # ascending by index, row
    unknown_fields: Counter[str]  # ignored fields, by name
