"""A state that was saved and restored goes on as if nothing had happened."""

from base64 import b64decode
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from aurora_batch import router, snapshots
from aurora_batch.router import Step
from aurora_batch.sample import ORIGIN, SAMPLED
from aurora_batch.settings import TenantSettings
from tests.aurora_batch import windows
from tests.aurora_batch.windows import SAMPLE, Log

CUTS = (1, 2, 9, 41, 79, 80, 81, 82, 83, 84, 120)
GOES_ON = 12  # batches


@cache
def log() -> Log:
    """Two windows of small batches, as from one partition."""
    bare, batches, at = windows.log(2.0, batch=15), [], 0
    for batch in bare.batches:
        origin = pa.array(np.arange(at, at + batch.num_rows))
        batches.append(batch.append_column(ORIGIN, origin))
        at += batch.num_rows
    return replace(bare, batches=batches)


@cache
def steps() -> tuple[Step, ...]:
    """What becomes of each, undisturbed."""
    state, made = log().start(), []
    for batch in log().batches:
        last = list(router.decide(batch, log().fleet, state, log().settings))
        state = last[-1].state
        made.append(last[-1])
    return tuple(made)


def said(saved: bytes) -> dict[str, Any]:
    """What a snapshot says; from where a sample can be read are bounds, which may be wider."""
    state: dict[str, Any] = msgspec.json.decode(saved)
    seen = state["outlook"]
    while seen is not None:
        del seen["origins"], seen["latest"]
        if seen["sample"] is not None:  # the same rows may be packed otherwise
            packed = pa.ipc.open_stream(b64decode(seen["sample"]))
            seen["sample"] = packed.read_all().to_pylist()
        seen = seen["asked"] and seen["asked"]["outlook"]
    return state


def decided_before(cut: int, most: int) -> pa.Table:
    """The last requests before a cut, as their log has them."""
    seen = pa.concat_tables(log().batches[:cut])
    return seen.slice(max(0, seen.num_rows - most))


def read_again(saved: bytes, cut: int) -> pa.Table:
    """What a worker reads again for a snapshot that was made at the cut."""
    return decided_before(cut, 10**9).slice(snapshots.origins(saved).get(0, 0))


def test_the_cuts_are_of_every_kind() -> None:
    """Where prices are asked for and where not, before the first ones and with some."""
    states = [steps()[cut - 1].state.outlook for cut in CUTS]

    assert {seen.asked is None for seen in states} == {True, False}
    assert {seen.reserve is None or not seen.reserve.pool.any() for seen in states} == {True, False}
    assert len({seen.demand.window_us for seen in states}) == 2


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_restored_state_goes_on_the_same(cut: int, packed: bool) -> None:
    """With the sample in the snapshot or from the log: the same decisions, and the same bytes."""
    saved = snapshots.save(steps()[cut - 1].state, sample=packed)
    sample = None if packed else read_again(saved, cut)
    state = snapshots.restore(saved, log().settings, sample=sample)
    assert said(snapshots.save(state, sample=packed)) == said(saved)
    for number in range(cut, min(cut + GOES_ON, len(steps()))):
        for step in router.decide(log().batches[number], log().fleet, state, log().settings):
            state = step.state

        assert step.decisions.equals(steps()[number].decisions)
        assert said(snapshots.save(state)) == said(snapshots.save(steps()[number].state))


def test_more_of_the_log_than_the_sample_holds_does_no_harm() -> None:
    """Of the requests that are handed over, the last ones are the sample."""
    cut = len(steps()) - 1
    saved = snapshots.save(steps()[cut - 1].state, sample=False)
    sample = decided_before(cut, 10**9)
    state = snapshots.restore(saved, log().settings, sample=sample)

    assert sample.num_rows > SAMPLE
    assert (
        state.outlook.sample.table()
        .select(SAMPLED)
        .equals(sample.select(SAMPLED).slice(sample.num_rows - SAMPLE).combine_chunks())
    )


def test_without_the_sample_a_snapshot_is_small() -> None:
    """Most of a snapshot is its sample."""
    state = steps()[100].state

    assert len(snapshots.save(state, sample=False)) < len(snapshots.save(state)) / 5


def test_a_snapshot_of_an_earlier_version_is_restored() -> None:
    """Without an outlook in it, a state begins to look ahead anew."""
    said = msgspec.json.decode(snapshots.save(steps()[40].state))
    del said["outlook"]
    state = snapshots.restore(msgspec.json.encode(said), log().settings)

    assert state.outlook.prices is None
    assert state.outlook.due
    assert state.ledger.pool_left.tolist() == steps()[40].state.ledger.pool_left.tolist()


def test_prices_for_other_tenants_are_solved_anew() -> None:
    """Where a restart brings another budget, old reserve prices are not charged."""
    tenants = log().settings.tenants | {"new": TenantSettings(budget_usd_per_step=10.0)}
    settings = msgspec.structs.replace(log().settings, tenants=tenants)
    state = snapshots.restore(snapshots.save(steps()[40].state), settings)
    step = router.step(log().batches[41], log().fleet, state, settings)

    assert state.outlook.due
    assert state.outlook.reserve is None
    assert step.batch.reserve is not None
    assert step.batch.reserve.budget.size == step.batch.budget_left.size


def test_what_is_no_snapshot_is_refused() -> None:
    """Anything else is a decode error."""
    for saved in (b"", b"{}", b"[1]", b'{"ledger": 1}'):
        with pytest.raises(msgspec.DecodeError):
            snapshots.restore(saved, log().settings)
