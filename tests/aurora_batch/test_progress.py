"""The account of requests: each counted once, whatever is aborted."""

import numpy as np

from aurora_batch.progress import Account, Outcome, next_offsets, rows_of
from aurora_batch.schema import Record, Records, decode
from tests.streaming import request


def records(partition: int, low: int, high: int) -> Records:
    """Records of some offsets."""
    return Records.of(Record(b"", partition=partition, offset=o) for o in range(low, high))


def ones(count: int) -> np.ndarray:
    """A request a record."""
    return np.ones(count, np.int64)


def test_next_offsets_are_behind_the_last_record_of_each_partition() -> None:
    """Order and gaps do not matter."""
    batch = Records.joined([records(1, 5, 9), records(0, 3, 4)])
    assert next_offsets(batch[::-1]) == {0: 4, 1: 9}


def test_rows_are_counted_by_record() -> None:
    """Valid and rejected requests of each record."""
    good, bad = request(1).value, b"?"
    decoded = decode([Record(bad), Record(good), Record(good)], max_clock_skew_s=300.0)
    assert rows_of(decoded, 3).tolist() == [1, 1, 1]


def test_an_aborted_batch_counts_once() -> None:
    """Polled and decoded again, in another cut, a request is consumed once."""
    account = Account()
    account.rewound({0: 0})
    account.decoded(records(0, 0, 10), ones(10))
    assert (account.consumed, account.in_flight) == (10, 10)

    account.rewound({0: 0})
    assert account.decoded(records(0, 0, 15), ones(15)) == 5
    account.done(Outcome({0: 15}, 14, 1))

    assert (account.consumed, account.decided, account.dead, account.in_flight) == (15, 14, 1, 0)


def test_a_doubtful_commit_is_settled_by_the_committed_offsets() -> None:
    """It counts if the offsets say that it happened, and not if they do not."""
    for committed, decided in ((10, 10), (0, 0)):
        account = Account()
        account.rewound({0: 0})
        account.decoded(records(0, 0, 10), ones(10))
        account.committing(Outcome({0: 10}, 10, 0))

        account.rewound({0: committed})

        assert (account.decided, account.in_flight) == (decided, 10 - decided)


def test_lag_is_what_is_not_committed() -> None:
    """End offset minus committed offset, never below zero."""
    account = Account()
    account.rewound({0: 4, 1: 7})
    assert account.lag({0: 10, 1: 6}) == {0: 6, 1: 0}
