"""The router's state as JSON, and back, bit for bit."""

import io

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct

from aurora_batch.allocation import Prices
from aurora_batch.demand import Demand, weights_of
from aurora_batch.ledger import Ledger
from aurora_batch.outlook import Outlook, Sample
from aurora_batch.router import RouterState
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
    if sample is None and said.outlook is not None and said.outlook.sample is not None:
        sample = pa.ipc.open_stream(said.outlook.sample).read_all()
    most = settings.router.lookahead.sample
    recent = Sample(most) if sample is None else Sample(most).add(sample)
    return RouterState(
        Ledger.from_json(bytes(said.ledger), tenants),
        Outlook() if said.outlook is None else _to_outlook(said.outlook, tenants, recent),
        _to_prices(said.prices),
        said.fleet_version,
        shard,
    )


def origins(saved: bytes) -> dict[int, int]:
    """Return from which offset of each partition a snapshot's sample can be read again."""
    said = msgspec.json.decode(saved, type=_State)
    return {} if said.outlook is None else said.outlook.origins


def _of_prices(prices: Prices | None) -> _Prices | None:
    return None if prices is None else _Prices(prices.pool.tolist(), prices.budget.tolist())


def _to_prices(said: _Prices | None) -> Prices | None:
    if said is None:
        return None
    return Prices(np.array(said.pool, np.float64), np.array(said.budget, np.float64))


def _of_outlook(outlook: Outlook, sample: bool) -> _Outlook:
    demand = outlook.demand
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
        outlook.sample.origins(),
    )


def _to_outlook(said: _Outlook, tenants: Tenants, sample: Sample) -> Outlook:
    reserve = _to_prices(said.reserve)
    # Prices for other tenants than are configured now are solved anew.
    same = reserve is None or reserve.budget.size == tenants.budget.size
    current = np.array(said.current, np.float64)
    past = np.array(said.past, np.float64).reshape(-1, current.size)
    return Outlook(
        demand=Demand(said.window_us, said.since, current, past, weights_of(past)),
        sample=sample,
        now_us=said.now_us,
        solved_us=said.solved_us,
        fresh_hours=said.fresh_hours,
        due=said.due or not same,
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
