"""A micro-batch decided: row for row, window by window."""

from typing import Any

import pytest

from aurora_batch import decisions, engine, router
from aurora_batch.fleet import default_fleet
from aurora_batch.hindsight import chosen
from aurora_batch.router import RouterState
from aurora_batch.schema import Decisions, Record, Records
from aurora_batch.settings import Settings
from tests.streaming import request


def records(*seconds: int) -> list[Record]:
    """Requests of a second after noon each, in this order."""
    times = [f"2026-01-01T12:{s // 60:02}:{s % 60:02}Z" for s in seconds]
    messages = [request(i, requested_at=t) for i, t in enumerate(times)]
    return [Record(m.value, m.key, offset=i) for i, m in enumerate(messages)]


def decide(batch: list[Record]) -> engine.Decided:
    """Decide a batch as the first one ever."""
    settings, fleet = Settings(), default_fleet()
    records = Records.of(batch)
    decoded = engine.decode(records, settings)
    return engine.decide(records, decoded, fleet, router.initial_state(fleet, settings), settings)


def test_windows_of_one_batch_are_decided_in_their_order() -> None:
    """A partition that is ahead makes none late; decisions stay in the order of the records."""
    done = decide(records(70, 10, 75, 20))

    assert done.decisions.to_table()["request_id"].to_pylist() == ["r0", "r1", "r2", "r3"]
    assert [b.requests for b in done.batches] == [2, 2]
    assert sum(b.late for b in done.batches) == 0
    assert [w.minute for w in done.decisions.to_table()["window"].to_pylist()] == [1, 0, 1, 0]


def test_offers_are_those_that_the_decisions_name() -> None:
    """Row for row, also where the order of windows is not that of the records."""
    asked = [("h100", 70), ("a100", 10), ("none", 15), ("4090", 75), ("h100", 20), ("none", 80)]
    times = [f"2026-01-01T12:{s // 60:02}:{s % 60:02}Z" for _, s in asked]
    messages = [
        request(i, requested_at=t, gpu_type=gpu)
        for i, (t, (gpu, _)) in enumerate(zip(times, asked, strict=True))
    ]
    done = decide([Record(m.value, m.key, offset=i) for i, m in enumerate(messages)])

    said = done.decisions.to_table()
    assert said["gpu_type"].to_pylist() == [gpu if gpu != "none" else None for gpu, _ in asked]
    assert done.offer.tolist() == chosen(said, default_fleet()).tolist()


def test_a_batch_of_bad_records_leaves_the_state() -> None:
    """Nothing to decide: dead letters, no batch, and the state as it was."""
    done = decide([Record(b"?"), Record(b"!")])

    assert (len(done.dead_letters), len(done.decision_messages), done.batches) == (2, 0, ())
    assert done.state.ledger.batches == 0


def test_the_state_is_known_before_the_decisions_are_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever prepares the next batch has the state behind this one, and has it early."""
    settings, fleet = Settings(), default_fleet()
    batch = Records.of(records(10, 20, 70))
    known: list[RouterState] = []
    written: list[int] = []
    write = decisions.coded

    def coded(*arguments: Any) -> Decisions:
        written.append(len(known))
        return write(*arguments)

    monkeypatch.setattr(decisions, "coded", coded)
    state = router.initial_state(fleet, settings)
    read = engine.decode(batch, settings)
    done = engine.decide(batch, read, fleet, state, settings, prepare=known.append)

    assert [s is done.state for s in known] == [True]
    assert written == [1, 1]  # one for each window, both behind it
