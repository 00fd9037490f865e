"""`ab.route`: one call for notebooks and services, the same engine as everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from aurora_batch import decisions, router, schema
from aurora_batch.fleet import Fleet, default_fleet
from aurora_batch.model import Policy
from aurora_batch.router import BatchRecord
from aurora_batch.settings import Settings

Requests: TypeAlias = pa.Table | pl.DataFrame | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Result:
    """Decisions and their certificate."""

    decisions: pa.Table  # a row a request, in the order of the requests
    certificate: BatchRecord  # value, bound, gap, pool_prices, budget_prices, status, ...


def route(
    requests: Requests,
    fleet: Fleet | None = None,
    policy: str | Policy | None = None,
    settings: Settings | None = None,
) -> Result:
    """Decide all requests together, as one batch in one window.

    Parameters
    ----------
    requests
        Arrow table, Polars frame or list of dicts with the fields of a request. A bad one gets a
        `rejected` decision with its fault as reason; the others are decided as if it were not
        there.
    fleet
        What is for sale; the built-in seven providers by default.
    policy
        `global` or `greedy`; by default the configured one.
    settings
        By default the built-in ones.

    Examples
    --------
    >>> import aurora_batch as ab
    >>> asked = {"request_id": "r1", "workload_type": "general", "gpu_type": "A100", "gpu_hours": 2}
    >>> ab.route([asked], fleet=ab.default_fleet()).decisions["provider"].to_pylist()
    ['vast']
    """
    fleet = fleet if fleet is not None else default_fleet()
    settings = settings if settings is not None else Settings()
    chosen = Policy(policy) if policy is not None else settings.router.effective_policy
    decoded = _decoded(requests, settings)
    state = router.initial_state(fleet, settings)
    step = router.step(decoded.requests, fleet, state, settings, policy=chosen, certify=True)
    bad = decisions.rejected(decoded.rejections, chosen)
    rows = pa.concat_tables([step.decisions, bad])
    index = np.concatenate(
        [decoded.index, np.array([r.index for r in decoded.rejections], np.int64)]
    )
    return Result(rows.take(np.argsort(index, kind="stable")), step.batch)


def _decoded(requests: Requests, settings: Settings) -> schema.Decoded:
    skew = settings.router.max_clock_skew_s
    if isinstance(requests, pl.DataFrame):
        requests = requests.to_arrow()
    if isinstance(requests, pa.Table):
        return schema.decode_table(requests, max_clock_skew_s=skew)
    encoder = msgspec.json.Encoder()
    return schema.decode_json([encoder.encode(r) for r in requests], None, max_clock_skew_s=skew)
