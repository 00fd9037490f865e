"""Which fields a request has and what each may say: one table for decoders and contracts."""

from dataclasses import dataclass
from math import isfinite

from aurora_batch.model import WEIGHTS

MAX_JSON_BYTES = 2**20
MAX_ARROW_BYTES = 16 * 2**20
MAX_ARROW_ROWS = 1_000_000
MAX_ARROW_UNPACKED = 256 * 2**20  # bytes of a payload's columns once decompressed

# GPU-hours and priority are summed and multiplied: beyond this, costs and values would overflow.
MOST = 1e9

TIME_FROM = "1970-01-01T00:00:00Z"
TIME_TO = "2200-01-01T00:00:00Z"  # exclusive
TIME_TO_S = 7_258_118_400

# Control characters go to nobody's log, header or terminal: C0, DEL, C1 and Unicode line ends.
CONTROL = r"[\x00-\x1f\x7f\u0080-\u009f\u2028\u2029]"


@dataclass(frozen=True)
class Text:
    """A string of 1 to `longest` characters, no control characters among them."""

    name: str
    required: bool = False
    longest: int = 128

    @property
    def expected(self) -> str:
        """What would have been accepted."""
        return f"1 to {self.longest} characters without control characters"


@dataclass(frozen=True)
class Number:
    """A finite number from `low` (or above it, where `open_low`) to `high`."""

    name: str
    required: bool = False
    low: float = 0.0
    high: float = float("inf")
    open_low: bool = True

    @property
    def expected(self) -> str:
        """What would have been accepted."""
        if self.open_low:
            most = f" and <= {self.high:g}" if isfinite(self.high) else ""
            return f"a number > {self.low:g}{most}"
        return f"a number from {self.low:g} to {self.high:g}"


REQUEST_ID = Text("request_id", required=True)
WORKLOAD = Text("workload_type", required=True)
# Of all names together, with a separator between two; names are unpacked one distinct value at a
# time in Python, so this also bounds what a hostile value can cost.
GPU = Text("gpu_type", required=True, longest=256)
TEXTS = (REQUEST_ID, Text("tenant_id"), WORKLOAD, GPU, Text("region"))
NUMBERS = (
    Number("gpu_hours", required=True, high=MOST),
    Number("max_price"),
    Number("max_latency_ms"),
    Number("min_reputation", high=100.0, open_low=False),
    Number("priority", high=MOST),
)
WEIGHT_NUMBERS = tuple(Number(name, high=1.0, open_low=False) for name in WEIGHTS)
REQUIRED = tuple(field.name for field in (*TEXTS, *NUMBERS) if field.required)


def escaped(text: str, longest: int = 80) -> str:
    """Return the text without what a terminal would obey, cut after `longest` characters."""
    safe = ascii(text[: longest + 1])[1:-1]
    return safe if len(safe) <= longest else safe[:longest] + "..."


def shown(value: object) -> str:
    """Return the value for a detail, never the whole of a long one."""
    return f'"{escaped(value)}"' if isinstance(value, str) else escaped(str(value))
