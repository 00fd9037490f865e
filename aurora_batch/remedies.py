"""Front door to `kernels.remedies`: what would have placed a refused request, in words.

raise max_price to 2.20: vast          accept eu-west-1: flux
raise max_latency_ms to 380: vast      accept a100: vast
lower min_reputation to 62: vast       capacity: 3.1 GPU-h short at akash
                                       budget: 4.20 USD short at vast
"""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.allocation import Prices
from aurora_batch.fleet import Fleet
from aurora_batch.model import Scoring
from aurora_batch.policies import Task
from aurora_batch.schema import Codes
from kernels import pairs, remedies
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


def remedy(task: Task, offer: I32, left: Supply, prices: Prices | None) -> Codes:
    """Return for each request the cheapest single relaxation that would have placed it, (n,).

    Null where it is served (`offer` >= 0) or where no single relaxation is enough.

    Parameters
    ----------
    left
        What the batch left.
    prices
        The batch's shadow prices; None where the policy has none.
    """
    refused = np.flatnonzero(offer < 0)
    kind, where = remedies.remedies(
        task.columns.blocks, task.columns.requests, task.supply, left,
        _stakes(task, prices), _objective(task), refused,
    )  # fmt: skip
    words, code = _phrases(task, left, refused, kind, where)
    index = np.full(offer.size, -1, np.int32)
    index[refused] = code
    return Codes(index, words)


def _stakes(task: Task, prices: Prices | None) -> remedies.Stakes:
    if prices is None:
        prices = Prices(np.zeros(task.supply.left.size), np.zeros(task.supply.budget.size))
    budget = prices.budget if prices.budget.size else np.zeros(task.supply.budget.size)
    return remedies.Stakes(task.worth, task.best_score, prices.pool, budget)


def _objective(task: Task) -> remedies.Objective:
    objective = task.settings.objective
    return remedies.Objective(
        objective.serve_reward,
        objective.scale == "per_request",
        task.settings.scoring is Scoring.NORMALIZED,
        pairs.GPU_EFFORT,
        pairs.REGION_EFFORT,
    )


def _phrases(task: Task, left: Supply, row: I64, kind: I32, offer: I32) -> tuple[pa.Array, I32]:
    """Return phrases, and which of them each row's remedy is, -1 for none.

    What a limit says depends on kind and offer alone; a shortage is each request's own, so those
    are put together by Arrow, column by column.
    """
    words = [_limits(task.fleet)]
    code = np.where(kind < 0, -1, kind * task.fleet.offers + offer)
    for which, said in ((pairs.CAPACITY, _capacity), (pairs.BUDGET, _budget)):
        some = np.flatnonzero(kind == which)
        if some.size:
            code[some] = sum(map(len, words)) + np.arange(some.size)
            words.append(said(task, left, row[some], offer[some]))
    return pa.concat_arrays(words), code.astype(np.int32)


@lru_cache(maxsize=4)
def _limits(fleet: Fleet) -> pa.Array:
    """Return what relaxing each limit for each offer is called, (5 m,), in the order of limits."""
    at = [fleet.provider_ids[provider] for provider in fleet.offer_provider]
    said = (
        [f"accept {fleet.gpu_types[gpu]}" for gpu in fleet.offer_gpu],
        [f"accept {regions[0]}" for regions in fleet.offer_regions],
        [f"raise max_price to {exact(usd, '.2f')}" for usd in fleet.offer_price.tolist()],
        [f"raise max_latency_ms to {exact(ms)}" for ms in fleet.offer_latency_ms.tolist()],
        [f"lower min_reputation to {exact(r)}" for r in fleet.offer_reputation.tolist()],
    )
    phrases = [f"{what}: {where}" for row in said for what, where in zip(row, at, strict=True)]
    return pa.array(phrases, pa.string())


def exact(value: float, form: str = ".10g") -> str:
    """Return the number in that form where it says it all, else as Python does."""
    said = format(value, form)
    return said if float(said) == value else repr(value)


def _capacity(task: Task, left: Supply, row: I64, offer: I32) -> pa.Array:
    hours = task.columns.requests.hours[row]
    short = _shortage(left.left[task.fleet.offer_pool[offer]], hours, 1_000) / 1_000
    amount = pa.array(short).cast(pa.string())
    return _joined("capacity: ", amount, " GPU-h short at ", task.fleet, offer)


def _budget(task: Task, left: Supply, row: I64, offer: I32) -> pa.Array:
    requests = task.columns.requests
    cost = task.fleet.offer_price[offer] * requests.hours[row]
    cents = _shortage(left.budget[requests.tenant[row]], cost, 100).clip(max=1e17).astype(np.int64)
    usd, rest = pa.array(cents // 100).cast(pa.string()), pa.array(cents % 100).cast(pa.string())
    amount = pc.binary_join_element_wise(usd, pc.utf8_lpad(rest, 2, "0"), ".")
    return _joined("budget: ", amount, " USD short at ", task.fleet, offer)


def _shortage(left: F64, need: F64, steps: int) -> F64:
    """Return what is missing in whole steps of a unit, rounded up to what is really enough."""
    missing = np.ceil((need - left) * steps)
    return missing + (left + missing / steps < need)


def _joined(kind: str, amount: pa.Array, short: str, fleet: Fleet, offer: I32) -> pa.Array:
    providers = pa.array(fleet.provider_ids, pa.string()).take(
        pa.array(fleet.offer_provider[offer])
    )
    return pc.binary_join_element_wise(kind, amount, short, providers, "")
