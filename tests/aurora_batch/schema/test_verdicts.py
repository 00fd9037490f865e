"""What is remembered of broken payloads changes no answer, and is bounded."""

from collections.abc import Iterator

import pytest

from aurora_batch.model import Fault
from aurora_batch.schema import Record, decode, verdicts
from aurora_batch.schema.columns import Decoded
from aurora_batch.schema.verdicts import LONGEST, MOST, Why, recall, remember
from tests.aurora_batch.schema.payloads import BAD, GOOD

NOON_US = 1_767_268_800_000_000
OK = b'{"request_id": "r", "workload_type": "general", "gpu_type": "a100", "gpu_hours": 1.5'


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    verdicts.forget()
    yield
    verdicts.forget()


def _decoded(payloads: list[bytes | None], times_us: int = NOON_US, **said: object) -> Decoded:
    records = [Record(p, offset=i, timestamp_us=times_us) for i, p in enumerate(payloads)]
    return decode(records, max_clock_skew_s=300.0, **said)  # type: ignore[arg-type]


def test_the_second_time_everything_is_said_again() -> None:
    """Every kind of bad payload among good ones: the same requests, reasons and details."""
    payloads = [*(value for value, *_ in BAD.values()), *GOOD.values()]

    first = _decoded(payloads)
    known = [why for why in recall(payloads) if why is not None]
    second = _decoded(payloads)

    assert second.rejections == first.rejections
    assert second.requests.equals(first.requests)
    assert len(known) > len(BAD) / 2


def test_what_the_payload_alone_does_not_decide_is_found_out_again() -> None:
    """A time ahead of one record is no time ahead of a later one; settings may change as well."""
    ahead = OK + b', "requested_at": "2026-01-01T13:00:00Z"}'

    assert [r.fault for r in _decoded([ahead]).rejections] == [Fault.CLOCK_SKEW]
    assert not _decoded([ahead], NOON_US + 3600 * 10**6).rejections
    other = _decoded([OK + b"}"], workloads=frozenset({"training"}))
    assert [r.fault for r in other.rejections] == [Fault.UNKNOWN_WORKLOAD]
    assert not _decoded([OK + b"}"]).rejections


def test_unknown_fields_are_counted_each_time() -> None:
    """Also of a request that is at fault."""
    odd = OK.replace(b"1.5", b"-1") + b', "colour": "red"}'

    counts = [_decoded([odd]).unknown_fields["colour"] for _ in range(3)]

    assert counts == [1, 1, 1]


def test_bounded() -> None:
    """A flood of broken payloads, each its own, and long ones leave little behind."""
    for i in range(3 * MOST):
        remember(b"%d" % i, Why(Fault.MALFORMED, "payload: no object"))
    remember(b"x" * (LONGEST + 1), Why(Fault.MALFORMED, "payload: no object"))

    known = recall([b"%d" % i for i in range(3 * MOST)])

    assert 0 < sum(why is not None for why in known) <= MOST
    assert recall([b"x" * (LONGEST + 1)]) == [None]
