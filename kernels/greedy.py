"""The documented sequential policy: each request in turn takes its best-scored feasible offer.

Says feasibility and score again on purpose, beside `kernels.pairs`: a kernel and its helpers stay
in one file, or Numba's cache goes stale. The tests hold both against the same plain Python loop.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.pairs import OfferTable, RequestTable, Supply


@njit(cache=True, nogil=True, error_model="numpy")
def greedy(
    q: OfferTable,
    r: RequestTable,
    s: Supply,
    normalized: bool,
    out_offer: NDArray[np.int32],
    out_score: NDArray[np.float64],
    out_stage: NDArray[np.int32],
) -> None:
    """Decide the requests in arrival order; ties go to the offer listed first.

    Writes the fleet offer (-1: refused), its score at that moment, and how far a refused request
    came (0: no offer met its limits, 1: none of those had capacity, 2: the budget did not cover any
    that had), all (n,). `s.left` and `s.budget` are what is left at the start; both are **modified
    in place**. A pair is feasible and scored with the capacity and budget left at the moment of its
    request (spec, section 4).
    """
    for i in range(r.hours.size):
        hours = r.hours[i]
        tenant = r.tenant[i]
        budget = s.budget[tenant] if tenant >= 0 else np.inf
        low, high = q.start[r.group[i]], q.start[r.group[i] + 1]
        unit_price, unit_latency = 1.0, 1.0
        if normalized:
            unit_price, unit_latency = np.inf, np.inf
            for o in range(low, high):
                if (
                    q.price[o] <= r.max_price[i]
                    and q.latency[o] <= r.max_latency[i]
                    and q.reputation[o] >= r.min_reputation[i]
                    and s.left[q.pool[o]] >= hours
                    and q.price[o] * hours <= budget
                ):
                    unit_price = min(unit_price, q.price[o])
                    unit_latency = min(unit_latency, q.latency[o])
        best, pick, stage = -1.0, -1, 0
        for o in range(low, high):
            pool = q.pool[o]
            if (
                q.price[o] <= r.max_price[i]
                and q.latency[o] <= r.max_latency[i]
                and q.reputation[o] >= r.min_reputation[i]
            ):
                roomy = s.left[pool] >= hours
                stage = max(stage, 1 + roomy)
                if not roomy or q.price[o] * hours > budget:
                    continue
                score = (
                    r.weights[i, 0] * unit_price / q.price[o]
                    + r.weights[i, 1] * unit_latency / q.latency[o]
                    + r.weights[i, 2] * q.reputation[o] / 100.0
                    + r.weights[i, 3] * s.left[pool] / s.total[pool]
                )
                if score > best:
                    best, pick = score, o
        out_score[i] = best
        out_stage[i] = stage
        out_offer[i] = -1
        if pick >= 0:
            out_offer[i] = q.offer[pick]
            s.left[q.pool[pick]] -= hours
            if tenant >= 0:
                s.budget[tenant] -= q.price[pick] * hours
