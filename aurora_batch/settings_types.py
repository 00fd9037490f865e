"""Types of settings: their bounds, conversion of one value, and words for what was expected."""

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect


class Seconds(float):
    """A duration in seconds; files may say `1s`, `20ms`, `2m`."""


class Bytes(int):
    """A size in bytes; files may say `16MiB`, `64kB`."""


Unit = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Milliseconds = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Days = Annotated[float, Meta(gt=0, le=366 * 86_400)]  # seconds, at most a year
Text = Annotated[str, Meta(min_length=1)]
Topic = Annotated[
    str,
    Meta(
        pattern=r"^[a-zA-Z0-9._-]{1,249}\Z",
        description="a topic name of letters, digits, dots, _ and -",
    ),
]
Brokers = Annotated[
    str,
    Meta(
        pattern=r"^[^\s,@/]+:\d{1,5}(,[^\s,@/]+:\d{1,5})*\Z",
        description="HOST:PORT, or several with commas between",
    ),
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s@]+\Z",
        description="an http or https address without user and password",
    ),
]
PriceList = Annotated[
    dict[str, Positive | dict[str, Positive]],
    Meta(description="USD per hour by GPU type, such as {a100: 1.8} or {a100: {eu-west-1: 1.8}}"),
]
Capacity = Annotated[
    NonNegative | dict[str, NonNegative],
    Meta(description="GPU-hours >= 0, or such by GPU type: {a100: 120}"),
]
Regions = Annotated[
    list[Text], Meta(min_length=1, description="a list of names such as [eu-west-1, us-west-2]")
]
Mix = Annotated[
    dict[str, Unit], Meta(description="shares by workload that sum to 1, such as {general: 1.0}")
]
HourRange = Annotated[
    tuple[Positive, Positive],
    Meta(description="[low, high] in GPU-hours, 0 < low <= high"),
]
VariableName = Annotated[
    str,
    Meta(pattern=r"^[A-Z_][A-Z0-9_]*\Z", description="the name of an environment variable"),
]

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)")
_SWITCH = {"yes": True, "on": True, "no": False, "off": False}
_CUSTOM = {
    Seconds: "a duration > 0 such as 20ms, 1s or 2m",
    Bytes: "a size such as 64kB or 16MiB",
}
# What kind of secret a key's name gives away; its value is never repeated.
_SECRET = re.compile(r"pass|secret|token|credential|private|username|(^|_|api)key$", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"[^\s/:@]+:[^\s/@]+@")
_SHOWN = 80  # characters of a value in a message


def convert(value: object, kind: Any, *, loose: bool = False) -> object:
    """Return `value` as `kind`; `loose` accepts quoted numbers, for text from outside files.

    A number where text is wanted is its text (the GPU 4090), `yes/no/on/off` are booleans where
    one is wanted, and no number may be infinite or NaN. Raises `msgspec.ValidationError`.
    """
    if not _finite(value):
        raise msgspec.ValidationError("not finite")
    types = _alternatives(inspect.type_info(kind))
    if isinstance(value, int) and not isinstance(value, bool):
        if not any(isinstance(t, inspect.IntType | inspect.FloatType) for t in types):
            value = str(value) if any(isinstance(t, inspect.StrType) for t in types) else value
    elif isinstance(value, str) and any(isinstance(t, inspect.BoolType) for t in types):
        value = _SWITCH.get(value.lower(), value)
    return msgspec.convert(value, kind, strict=not loose, dec_hook=_quantity)


def to_plain(value: object) -> Any:
    """Return settings as numbers, text, lists and mappings only."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_number))


def describe(kind: Any) -> str:
    """Return what a type accepts, for "expected ...".

    >>> from aurora_batch.model import Scoring
    >>> describe(Unit), describe(Scoring), describe(Bytes)
    ('a number from 0 to 1', 'one of documented, normalized', 'a size such as 64kB or 16MiB')
    """
    return _describe(inspect.type_info(kind))


def show(value: object, key: str = "") -> str:
    """Return a value for a message: one short line, and nothing that may be secret."""
    if is_secret(key):
        return "not shown"
    text = _TRIVIAL.get(value, "") if isinstance(value, bool | None) else repr(_scrubbed(value))
    if _USER_AND_PASSWORD.search(text):
        return "not shown"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def is_secret(key: str) -> bool:
    """Whether a key's name says that its value is a secret.

    >>> [is_secret(k) for k in ("password", "api_key", "kafka.sasl_username", "credits_per_hour")]
    [True, True, True, False]
    """
    return _SECRET.search(key) is not None


_TRIVIAL: dict[object, str] = {None: "empty", True: "true", False: "false"}


def _scrubbed(value: object) -> object:
    if isinstance(value, dict):
        return {k: "..." if is_secret(k) else _scrubbed(v) for k, v in value.items()}
    return [_scrubbed(v) for v in value] if isinstance(value, list) else value


def _finite(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _quantity(kind: type, value: object) -> object:
    """Convert what msgspec does not know: durations and sizes. Raises `ValueError`."""
    units: dict[str, Any] = _SECONDS if kind is Seconds else _BYTES
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(describe(kind))
    match = _QUANTITY.fullmatch(str(value).strip())
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit not in units):
        raise ValueError(describe(kind))
    amount = float(match[1]) * (units[unit] if unit else 1)
    if amount <= 0 or (kind is Bytes and not amount.is_integer()):
        raise ValueError(describe(kind))
    return kind(amount)


def _number(value: object) -> object:
    """Convert what msgspec does not know, on the way out."""
    if isinstance(value, Seconds):
        return float(value)
    if isinstance(value, Bytes):
        return int(value)
    raise NotImplementedError


def _alternatives(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _describe(info: inspect.Type) -> str:
    if isinstance(info, inspect.UnionType):
        types = [t for t in info.types if not isinstance(t, inspect.NoneType)]
        return " or ".join(map(_describe, types))
    if isinstance(info, inspect.Metadata):
        return str((info.extra_json_schema or {}).get("description") or _describe(info.type))
    return _WORDS.get(type(info), lambda _: "text")(info)


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:g} to {info.le:.10g}"
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    said = [
        f"{sign} {bound:.10g}"
        for name, sign in signs.items()
        if (bound := getattr(info, name)) is not None
    ]
    return " " + " and ".join(said) if said else ""


_WORDS: dict[type, Callable[[Any], str]] = {
    inspect.BoolType: lambda _: "true or false",
    inspect.IntType: lambda t: f"a whole number{_bounds(t)}",
    inspect.FloatType: lambda t: f"a number{_bounds(t)}",
    inspect.ListType: lambda t: f"a list of {_describe(t.item_type)}",
    inspect.TupleType: lambda t: f"[{', '.join(map(_describe, t.item_types))}]",
    inspect.DictType: lambda t: f"a mapping of names to {_describe(t.value_type)}",
    inspect.StructType: lambda t: f"a mapping with the keys {', '.join(f.name for f in t.fields)}",
    inspect.LiteralType: lambda t: f"one of {', '.join(map(str, t.values))}",
    inspect.EnumType: lambda t: f"one of {', '.join(str(member.value) for member in t.cls)}",
    inspect.CustomType: lambda t: _CUSTOM[t.cls],
}
