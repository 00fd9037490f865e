"""The router's state as JSON, and back, bit for bit."""

import io
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct

from aurora_batch.allocation import Prices
from aurora_batch.demand import Demand, weights_of
from aurora_batch.ledger import Ledger
from aurora_batch.outlook import Asked, Outlook
from aurora_batch.router import RouterState
from aurora_batch.sample import OFFSETS, ORIGIN, Sample
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings


class _Prices(Struct):
    pool: list[float]
    budget: list[float]


class _Outlook(Struct):
    window_us: int
    length_us: int
    since: float
    current: list[float]
    past: list[list[float]]
    now_us: int
    solved_us: int
    fresh_hours: float
    due: bool
    reserve: _Prices | None
    fleet_version: str
    sample: bytes | None  # Arrow IPC stream
    origins: dict[int, int]  # by partition: from which offset the sample can be read again
    latest: dict[int, int] = {}  # and the last offset that is in it
    asked: "_Asked | None" = None


class _Asked(Struct):
    outlook: _Outlook
    ledger: msgspec.Raw
    at_once: bool


class _State(Struct):
    ledger: msgspec.Raw
    fleet_version: str
    prices: _Prices | None
    outlook: _Outlook | None = None  # absent in snapshots of earlier versions


def save(state: RouterState, *, sample: bool = True) -> bytes:
    """Return the state as JSON.

    Without the `sample` of recent requests, which is most of it, whoever restores the state must
    bring that: the requests of the log from `origins` to where it was decided.
    """
    return msgspec.json.encode(
        _State(
            msgspec.Raw(state.ledger.to_json()),
            state.fleet_version,
            _of_prices(state.prices),
            _of_outlook(state.outlook, sample),
        )
    )


def restore(
    saved: bytes, settings: Settings, shard: str = "", sample: pa.Table | None = None
) -> RouterState:
    """Return the state of a snapshot; raises `msgspec.DecodeError` where it is none.

    `sample` is canonical requests (`schema.REQUEST_SCHEMA`), in any order, for a snapshot without
    them: those from `origins` to where it was decided, or more.
    """
    said = msgspec.json.decode(saved, type=_State)
    tenants = Tenants.from_settings(settings)
    again = _Again(settings.router.lookahead.sample, sample)
    return RouterState(
        Ledger.from_json(bytes(said.ledger), tenants),
        Outlook() if said.outlook is None else _to_outlook(said.outlook, tenants, again),
        _to_prices(said.prices),
        said.fleet_version,
        shard,
    )


def origins(saved: bytes) -> dict[int, int]:
    """Return from which offset of each partition a snapshot's samples can be read again."""
    said = msgspec.json.decode(saved, type=_State).outlook
    if said is None:
        return {}
    first = dict(said.origins)
    for partition, offset in (said.asked.outlook.origins if said.asked else {}).items():
        first[partition] = min(offset, first.get(partition, offset))
    return first


def _of_prices(prices: Prices | None) -> _Prices | None:
    return None if prices is None else _Prices(prices.pool.tolist(), prices.budget.tolist())


def _to_prices(said: _Prices | None) -> Prices | None:
    if said is None:
        return None
    return Prices(np.array(said.pool, np.float64), np.array(said.budget, np.float64))


def _of_outlook(outlook: Outlook, sample: bool) -> _Outlook:
    demand, asked = outlook.demand, outlook.asked
    spans = outlook.sample.origins()
    return _Outlook(
        demand.window_us,
        outlook.length_us,
        demand.since,
        demand.current.tolist(),
        demand.past.tolist(),
        outlook.now_us,
        outlook.solved_us,
        outlook.fresh_hours,
        outlook.due,
        _of_prices(outlook.reserve),
        outlook.fleet_version,
        _packed(outlook.sample) if sample else None,
        {p: first for p, (first, _) in spans.items()},
        {p: last for p, (_, last) in spans.items()},
        None
        if asked is None
        else _Asked(
            _of_outlook(asked.outlook, sample),
            msgspec.Raw(asked.ledger.to_json()),
            asked.at_once,
        ),
    )


class _Again(NamedTuple):
    """Requests that were read again, for the samples of a snapshot without them."""

    most: int  # requests in a sample
    requests: pa.Table | None

    def sample(self, said: _Outlook) -> Sample:
        """Return the sample of an outlook: that it has, else of those that had come by then."""
        none, requests = Sample(self.most), self.requests
        if said.sample is not None:
            return none.add(pa.ipc.open_stream(said.sample).read_all())
        if requests is None:
            return none
        if said.latest and ORIGIN in requests.column_names:
            partition, offset = np.divmod(requests[ORIGIN].fill_null(0).to_numpy(), OFFSETS)
            last = np.array([said.latest.get(p, -1) for p in partition.tolist()], np.int64)
            requests = requests.filter(pa.array(offset <= last))
        return none.add(requests)


def _to_outlook(said: _Outlook, tenants: Tenants, again: _Again) -> Outlook:
    reserve, asked = _to_prices(said.reserve), said.asked
    # Prices for other tenants than are configured now are solved anew.
    same = reserve is None or reserve.budget.size == tenants.budget.size
    current = np.array(said.current, np.float64)
    past = np.array(said.past, np.float64).reshape(-1, current.size)
    soon = None
    if asked is not None:
        ledger = Ledger.from_json(bytes(asked.ledger), tenants)
        soon = Asked(_to_outlook(asked.outlook, tenants, again), ledger, asked.at_once)
    return Outlook(
        demand=Demand(said.window_us, said.since, current, past, weights_of(past)),
        sample=again.sample(said),
        now_us=said.now_us,
        solved_us=said.solved_us,
        fresh_hours=said.fresh_hours,
        due=said.due or not same,
        asked=soon,
        reserve=reserve if same else None,
        length_us=said.length_us,
        fleet_version=said.fleet_version,
    )


def _packed(sample: Sample) -> bytes:
    whole = sample.table()
    out = io.BytesIO()
    with pa.ipc.new_stream(out, whole.schema) as stream:
        stream.write_table(whole)
    return out.getvalue()
