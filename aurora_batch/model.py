"""Words of the domain: policies, statuses, reasons, constraints, GPU names (spec, section 2-4)."""

from enum import StrEnum


class Policy(StrEnum):
    """How a batch is decided."""

    GREEDY = "greedy"
    GLOBAL = "global"


class Scoring(StrEnum):
    """How a pair is scored: the documented formula, or rescaled to the best feasible offer."""

    DOCUMENTED = "documented"
    NORMALIZED = "normalized"


class Status(StrEnum):
    """What became of a request."""

    PROVISIONING = "provisioning"
    NO_CAPACITY = "no_capacity"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a request was decided as it was; a dead letter's code may stand here too."""

    OK = "ok"
    NO_VIABLE_PROVIDER = "no_viable_provider"
    NO_CAPACITY = "no_capacity"
    BELOW_RESERVE_PRICE = "below_reserve_price"
    BUDGET_EXCEEDED = "budget_exceeded"


class Fault(StrEnum):
    """Why a record is no request: the code of a dead letter, or of a `rejected` decision."""

    MALFORMED = "malformed"  # neither JSON nor Arrow, or not an object
    TOO_LARGE = "too_large"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_WORKLOAD = "unknown_workload"
    CLOCK_SKEW = "clock_skew"
    DUPLICATE = "duplicate_request"
    REPLY_TOO_LARGE = "reply_too_large"  # its decision, with key and headers, for the broker

    __hash__ = str.__hash__  # an enum's own is Python, and each dead letter is looked up by it


STATUS_OF_REASON = {
    Reason.OK: Status.PROVISIONING,
    Reason.NO_VIABLE_PROVIDER: Status.REJECTED,
    Reason.NO_CAPACITY: Status.NO_CAPACITY,
    Reason.BELOW_RESERVE_PRICE: Status.NO_CAPACITY,
    Reason.BUDGET_EXCEEDED: Status.REJECTED,
}

# Constraints of a pair, in the order of the bits that `kernels.pairs` sets.
CONSTRAINTS = (
    "gpu_type",
    "region",
    "max_price",
    "max_latency_ms",
    "min_reputation",
    "capacity",
    "budget",
)

WEIGHTS = ("price", "latency", "reputation", "availability")

ANYWHERE = "global"  # a request's region: any; an offer's region: serves every region
ANY_OF = "|"  # between the GPU types of a request that accepts several

_VENDOR_PREFIXES = ("nvidia", "amd", "intel", "geforce", "radeon", "instinct", "tesla", "quadro")
_SERIES_PREFIXES = ("rtx", "gtx")


def normalize_gpu(name: str) -> str:
    """Return the GPU type without case, separators, vendor and series prefixes.

    >>> [normalize_gpu(n) for n in ("RTX4090", "A100", "NVIDIA GeForce RTX 4060 Ti", "Tesla T4")]
    ['4090', 'a100', '4060ti', 't4']
    """
    text = "".join(c for c in name.lower() if c.isalnum())
    for prefix in (*_VENDOR_PREFIXES, *_SERIES_PREFIXES) * 2:
        text = text.removeprefix(prefix) or text
    return text


def normalize_gpus(names: str) -> str:
    """Return the canonical form of one GPU type, or of several separated by `|`, sorted.

    >>> normalize_gpus("RTX 4090|A100|a100")
    '4090|a100'
    """
    return ANY_OF.join(sorted({normalize_gpu(n) for n in names.split(ANY_OF)} - {""}))
