"""What a policy made of a batch, as the columns that its decisions are written from."""

import numpy as np

from aurora_batch import remedies, scoring
from aurora_batch.allocation import Allocation, Prices
from aurora_batch.decisions import Kept, Outcome
from aurora_batch.policies import Made, Task


def outcome(task: Task, made: Made) -> Outcome:
    """Return what was decided, as columns."""
    scored = task.settings.scoring
    top = task.settings.alternatives
    own, other, other_score = scoring.next_best(
        task.columns, task.supply, scored, made.offer, top, task.known_rows
    )
    if made.score is not None:  # a solve beside greedy has no part in its decisions
        own, prices = made.score, None
    else:
        prices = marginal_prices(made.allocation, task.reserve) if made.allocation else None
    return Outcome(
        made.offer, own, other, other_score, made.stage, made.left,
        prices.pool if prices is not None else None,
        _kept(task, made),
        remedies.remedy(task, made.offer, made.left, prices),
    )  # fmt: skip


def _kept(task: Task, made: Made) -> Kept | None:
    """Where each refused request came nearest to the reserve prices, and what both were there.

    Of the offers with room for it, if there are any: elsewhere it was not the price.
    """
    if task.reserve is None:
        return None
    hours, tenant = task.columns.requests.hours, task.columns.requests.tenant
    refused = np.flatnonzero(made.offer < 0)
    nearest = task.nearest_of(refused, made.left)
    at, pair = refused[nearest >= 0], nearest[nearest >= 0]
    offer = np.full(hours.size, -1, np.int32)
    offer[at] = task.problem.indices[pair]
    price, worth = np.zeros(hours.size), np.zeros(hours.size)
    budget = np.append(task.reserve.budget, 0.0)[tenant[at]]  # -1: no budget
    price[at] = task.reserve.pool[task.fleet.offer_pool[offer[at]]]
    price[at] += budget * task.fleet.offer_price[offer[at]]
    worth[at] = task.problem.data[pair] / hours[at] + price[at]
    return Kept(offer, price, worth)


def marginal_prices(solved: Allocation, reserve: Prices | None) -> Prices:
    """What one more unit of each pool and budget is worth: the batch's price beside the reserve."""
    if reserve is None:
        return solved.prices
    budget = reserve.budget.copy()
    budget[: solved.budget_prices.size] += solved.budget_prices
    return Prices(reserve.pool + solved.pool_prices, budget)
