"""The requests of a run: what tenants ask for in each step, with the surges of the scenario.

The same seed gives the same requests with or without a surge: a surge adds requests of its own, or
takes some away, and touches no other.
"""

import zlib
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from numpy.typing import NDArray

from aurora_batch.errors import UsageError
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import normalize_gpus
from aurora_batch.schema import REQUEST_SCHEMA, microseconds_of
from aurora_batch.settings import Settings
from aurora_batch.wargame.events import Event, Kind
from aurora_batch.workload import START, generate

START_US = int(START.timestamp() * 1e6)


def requests_of(
    settings: Settings, events: Sequence[Event], *, steps: int, seed: int, load: float
) -> pa.Table:
    """Return the requests of all steps (`schema.REQUEST_SCHEMA`), by event time.

    `load` multiplies the requests of every tenant (mean and spread); see `workload.generate`.
    """
    requests = generate(settings, steps=steps, seed=seed, load=load)
    more = []
    for number, event in enumerate(events):
        if event.kind is not Kind.DEMAND_SURGE or event.step >= steps:
            continue
        if event.size < 1:
            requests = requests.filter(pa.array(_kept(requests, event, settings, seed)))
        elif event.size > 1:
            more.append(_added(event, number, settings, steps, seed, load))
    if not more:
        return requests
    whole = pa.concat_tables([requests, *more]).combine_chunks()
    order = np.argsort(microseconds_of(whole["requested_at"]), kind="stable")
    return whole.take(pa.array(order))


def load_of(settings: Settings, demand: float) -> float:
    """Return the load at which tenants ask on average for `demand` times the GPU-hours on offer.

    On offer is what the pools hold that sell a GPU type which somebody asks for. Raises
    `UsageError` where nobody asks, or nothing that is asked for is sold.
    """
    fleet = fleet_from_settings(settings.providers)
    hours, asked = 0.0, set()
    for tenant in settings.tenants.values():
        for name, share in tenant.mix.items():
            workload = settings.workloads[name]
            if tenant.requests_per_step and share:
                hours += tenant.requests_per_step * share * sum(workload.gpu_hours) / 2
                asked.add(normalize_gpus(workload.gpu_type))
    pools = {int(fleet.offer_pool[o]) for gpus in asked for o in fleet.gpu_match(gpus).nonzero()[0]}
    offered = float(sum(fleet.pool_capacity[pool] for pool in sorted(pools)))
    if not hours or not offered:
        raise UsageError("--demand: nothing that is asked for is sold; expected --load instead")
    return demand * offered / hours


def steps_of(requests: pa.Table, settings: Settings) -> NDArray[np.int64]:
    """Return the step of each request by its event time, (n,)."""
    event_us = microseconds_of(requests["requested_at"])
    return np.asarray((event_us - START_US) // window_us(settings), np.int64)


def window_us(settings: Settings) -> int:
    """Return the length of a step in microseconds."""
    return max(1, round(settings.router.window_s * 1e6))


def _added(
    event: Event, number: int, settings: Settings, steps: int, seed: int, load: float
) -> pa.Table:
    """Return the requests that a surge adds."""
    asking = {t: s for t, s in settings.tenants.items() if event.hits(t)}
    surge = generate(
        replace(settings, tenants=asking),
        steps=min(event.duration, steps - event.step),
        seed=_seed(event, seed),
        load=load * (event.size - 1),
        start=START + timedelta(microseconds=event.step * window_us(settings)),
    )
    ids = pc.binary_join_element_wise(f"surge-{number}", surge["request_id"], "-")
    field = REQUEST_SCHEMA.field("request_id")
    return surge.set_column(REQUEST_SCHEMA.get_field_index("request_id"), field, ids)


def _kept(requests: pa.Table, event: Event, settings: Settings, seed: int) -> NDArray[np.bool_]:
    """Return which requests a drop of demand leaves, (n,)."""
    step = steps_of(requests, settings)
    during = (step >= event.step) & (step < event.end)
    asking = [event.hits(t or "") for t in requests["tenant_id"].to_pylist()]
    gone = np.random.default_rng(_seed(event, seed)).random(step.size) >= event.size
    return ~(during & np.array(asking, np.bool_) & gone)


def _seed(event: Event, seed: int) -> int:
    """Return a seed of the event's own: another event's place in the list does not matter."""
    said = [seed, event.step, event.duration, zlib.crc32(event.target.encode())]
    return int(np.random.SeedSequence(said).generate_state(1)[0])
