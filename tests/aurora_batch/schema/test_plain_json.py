"""Requests that the kernel reads are those that msgspec would have read, to the last bit."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_batch.schema import Decoded, decode_json
from aurora_batch.schema.decoding import _checked
from aurora_batch.schema.json_reading import read_each
from aurora_batch.schema.plain_json import read_plain
from tests.aurora_batch.schema.payloads import BAD, GOOD, NOON, payload, raw, request

WEIGHTS = ("price", "latency", "reputation", "availability")
NUMBERS = ("gpu_hours", "max_price", "max_latency_ms", "min_reputation", "priority")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
TEXTS = PRINTABLE | st.text(max_size=6) | st.sampled_from(["a100", "h100|A100", " Global ", ""])
NUMBER_TEXTS = st.one_of(
    st.floats(0, 1e9).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(0, 2**65).map(str),
    st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,22})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["0", "-0", "-0.0", "0.5", "01", "1.", ".5", "1e5", "1E+5", "0e9", "+1", "1e"]),
)
TIMES = st.one_of(
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.from_regex(
        r"(19|20|21)[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
        r"(\.[0-9]{0,11})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])",
        fullmatch=True,
    ),
    st.sampled_from([NOON, "", "2024-02-29T00:00:00Z", "2100-02-29T00:00:00Z"]),
)
BLANKS = st.text(" \n\t\r", max_size=2)


@st.composite
def plain_or_nearly(draw: st.DrawFn) -> bytes:
    """Draw a request as text: any order, white space, members twice, and values of the kind."""

    def quoted(texts: st.SearchStrategy[str]) -> str:
        text = draw(texts)
        return json.dumps(text, ensure_ascii=draw(st.booleans()))

    def space() -> str:
        return draw(BLANKS) if draw(st.integers(0, 9)) == 0 else ""

    def members(said: list[str]) -> str:
        return "{" + space() + f",{space()}".join(said) + space() + "}"

    def member(name: str, value: str) -> str:
        value = "null" if draw(st.integers(0, 12)) == 0 else value
        return f'"{name}"{space()}:{space()}{value}{space()}'

    said = [member(name, quoted(TEXTS)) for name in ("request_id", "workload_type")]
    said += [member(n, quoted(TEXTS)) for n in ("tenant_id", "region") if draw(st.booleans())]
    said += [member("gpu_hours", draw(NUMBER_TEXTS))]
    said += [member(n, draw(NUMBER_TEXTS)) for n in NUMBERS[1:] if draw(st.booleans())]
    gpus = [quoted(TEXTS) for _ in range(draw(st.integers(0, 3)))]
    said += [member("gpu_type", f"[{','.join(gpus)}]" if len(gpus) != 1 else gpus[0])]
    if draw(st.booleans()):
        said += [member("requested_at", quoted(TIMES))]
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from((*WEIGHTS, "x")), max_size=4))
        said += [member("weights", members([member(n, draw(NUMBER_TEXTS)) for n in names]))]
    said = draw(st.permutations(said)) if draw(st.booleans()) else said
    if draw(st.integers(0, 9)) == 0:
        said += [draw(st.sampled_from([*said, '"note":1']))]
    return (space() + members(said) + space()).encode(errors="surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a request with a few bytes changed, put in or taken out."""
    octets = bytearray(draw(plain_or_nearly() | st.sampled_from(list(GOOD.values()))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(octets)))
        put = draw(st.binary(max_size=2) | st.sampled_from([b'"', b"{", b"}", b",", b":", b"\\"]))
        octets[at : at + draw(st.integers(0, 3))] = put
    return bytes(octets)


SMALL_BAD = [bad for bad, *_ in BAD.values()]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(request())), inner),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
PAYLOADS = st.one_of(
    plain_or_nearly(),
    damaged(),
    JSON,
    st.binary(max_size=40),
    st.sampled_from(list(GOOD.values())),
    st.sampled_from(SMALL_BAD),
)


def without_kernel(payloads: list[bytes | None], times: Any = None) -> Decoded:
    """Decode every payload by msgspec."""
    unknown: Counter[str] = Counter()
    block, rejections = read_each(payloads, np.arange(len(payloads)), unknown)
    return _checked([block], rejections, unknown, times, 300.0, None)


def assert_same(found: Decoded, expected: Decoded) -> None:
    """Every column to the last bit, every rejection to the last letter."""
    found.requests.validate(full=True)
    assert found.requests.schema.equals(expected.requests.schema)
    for ours, theirs in zip(found.requests, expected.requests, strict=True):
        assert ours.equals(theirs)
        if pa.types.is_floating(ours.type):
            assert [x.as_py().hex() for x in ours.drop_null()] == [
                x.as_py().hex() for x in theirs.drop_null()
            ]
    assert found.index.tolist() == expected.index.tolist()
    assert found.rejections == expected.rejections
    assert found.unknown_fields == expected.unknown_fields


@settings(max_examples=250, deadline=None)
@given(st.lists(PAYLOADS, max_size=6))
@example(SMALL_BAD)
@example(list(GOOD.values()))
@example([x for pair in zip(SMALL_BAD, [*GOOD.values()] * 9, strict=False) for x in pair])
def test_kernel_and_msgspec_decode_alike(payloads: list[bytes | None]) -> None:
    """Any mixture of good, odd, damaged and made-up payloads."""
    assert_same(decode_json(payloads, None), without_kernel(payloads))


@settings(max_examples=50, deadline=None)
@given(st.lists(plain_or_nearly() | st.none(), max_size=8), st.data())
def test_slices_are_read_as_their_own_rows(
    payloads: list[bytes | None], data: st.DataObject
) -> None:
    """A part of a longer array, with 32 and with 64 bits of offset."""
    low = data.draw(st.integers(0, len(payloads)))
    high = data.draw(st.integers(low, len(payloads)))
    expected = without_kernel(payloads[low:high])

    for kind in (pa.binary(), pa.large_binary()):
        values = pa.array([b"before", *payloads, b"after"], kind)[1 + low : 1 + high]
        assert_same(decode_json(values, None), expected)
        chunked = pa.chunked_array([values[:1], values[1:1], values[1:]])
        assert_same(decode_json(chunked, None), expected)


def is_plain(text: bytes) -> bool:
    """Whether the kernel reads the payload."""
    return len(read_plain(pa.array([text], pa.binary()), np.arange(1))[1]) == 0


PLAIN = ["least", "all", "nulls", "null weights", "no weights",
         "unknown gpu", "any of", "any of, as text", "white space", "offset",
         "negative offset", "small letters", "nanoseconds", "29 February"]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_requests_are_plain(name: str) -> None:
    """The kernel reads what nearly all requests look like."""
    assert is_plain(GOOD[name])


@pytest.mark.parametrize(
    "text",
    ["0.7260052538635621", "1.1058167219820827", "9007199254740993", "1e22", "5E-3"],
)
def test_ordinary_numbers_are_plain(text: str) -> None:
    """Seventeen digits and their neighbours."""
    assert is_plain(raw("max_price", text))


@pytest.mark.parametrize(
    "odd",
    [raw("gpu_hours", "-1"), raw("gpu_hours", "1e300"), payload(request_id="é"), payload(note=1),
     raw("request_id", r'"\u0061"'), raw("gpu_hours", '9, "gpu_hours": 2'), payload(gpu_hours=...)],
)  # fmt: skip
def test_odd_requests_are_left_to_msgspec(odd: bytes) -> None:
    """Signs, extremes, escapes, letters beyond ASCII, unknown, repeated and missing members."""
    assert not is_plain(odd)
