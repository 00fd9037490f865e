"""Other solvers on an allocation problem, each behind one function.

Each takes the problem and the seconds it may search, and returns an `Answer`, or None where it does
not apply. `verified` holds every assignment to `allocation.check`. OR-Tools counts
in integers, or forgives 1e-6; scales and tolerances here make what it finds feasible.

Seconds are those from the problem's arrays to the assignment, building the peer's model included.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow
from ortools.linear_solver.python import model_builder_helper as linear
from ortools.sat.python import cp_model

from aurora_batch.allocation import Allocation, SparseProblem, check, exact, pricing
from aurora_batch.allocation.greedy import greedy_plan
from aurora_batch.allocation.result import relative_gap
from kernels.rows import ROOM, Rows, Supply

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

VALUE_SCALE = 1_000_000  # integers a unit of value
WHOLE = 100_000_000  # integers a whole pool or budget
SCIP_INFINITY = 1e20


class Answer(NamedTuple):
    """What a peer found."""

    assignment: I64  # (n,) offer, -1 = refused
    value: float  # recomputed from the assignment; nan where there is none
    bound: float  # no allocation is worth more, as the peer claims; nan without a claim
    seconds: float


Peer = Callable[[SparseProblem, float], Answer | None]


def verified(problem: SparseProblem, answer: Answer, proof: Allocation) -> Answer:
    """Return the answer, if its assignment is feasible and not above the bound of `proof`.

    Raises
    ------
    CertificateError
        Says what does not hold.
    """
    if not np.isnan(answer.value):
        bound = max(proof.bound, answer.value)
        claim = replace(
            proof, assignment=answer.assignment, value=answer.value,
            gap=relative_gap(answer.value, bound),
        )  # fmt: skip
        check(problem, claim)
    return answer


def greedy(problem: SparseProblem, limit_s: float) -> Answer:
    """Requests in order, each its best-valued pair that fits."""
    start = perf_counter()
    rows = problem.rows()
    return _answer(problem, rows, greedy_plan(rows, problem.supply).choice, np.nan, start)


def scipy_lp(problem: SparseProblem, limit_s: float) -> Answer:
    """The bound of SciPy's LP (HiGHS), which assigns nothing; it knows no limit."""
    start = perf_counter()
    market = pricing.Market(problem.rows(), problem.supply)
    prices = exact.lp_prices(market.rows, market.supply)
    seconds = perf_counter() - start
    bound = pricing.quote(market, market.priceable(prices)).bound
    return _nothing(problem, start)._replace(bound=bound, seconds=seconds)


def scipy_milp(problem: SparseProblem, limit_s: float) -> Answer:
    """SciPy's branch and bound (HiGHS), as `solve(method="exact")` runs it."""
    start = perf_counter()
    rows = problem.rows()
    found = exact.best_choice(rows, problem.supply, time_limit=limit_s)
    if not found.proven and (found.choice < 0).all():
        return _nothing(problem, start)
    bound = found.bound if found.bound < np.inf else np.nan
    answer = _answer(problem, rows, found.choice, bound, start)
    return answer._replace(bound=answer.value) if found.proven else answer


def scip(problem: SparseProblem, limit_s: float) -> Answer:
    """SCIP, as OR-Tools brings it."""
    start = perf_counter()
    rows = problem.rows()
    matrix, limits, _ = exact.constraints(rows, problem.supply)
    pairs = rows.pool.size
    model: Any = linear.ModelBuilderHelper()  # its stubs name arrays as no checker reads them
    model.fill_model_from_sparse_data(
        np.zeros(pairs), np.ones(pairs), rows.value, np.full(limits.size, -np.inf), limits, matrix
    )
    for pair in range(pairs):
        model.set_var_integrality(pair, True)
    model.set_maximize(True)
    solver: Any = linear.ModelSolverHelper("scip")
    solver.set_time_limit_in_seconds(limit_s)
    solver.set_solver_specific_parameters("numerics/feastol = 1e-10\nlimits/gap = 0")
    solver.solve(model)
    if not solver.has_solution():
        return _nothing(problem, start)
    choice = _choice(rows, np.flatnonzero(solver.variable_values() > 0.5))
    bound = solver.best_objective_bound()
    return _answer(problem, rows, choice, bound if bound < SCIP_INFINITY else np.nan, start)


def cp_sat(problem: SparseProblem, limit_s: float) -> Answer:
    """OR-Tools' CP-SAT on all cores.

    Demands are rounded up, so that the assignment is feasible; a bound of the rounded problem is
    none of this one.
    """
    start = perf_counter()
    rows = problem.rows()
    model = cp_model.CpModel()
    taken = [model.new_bool_var("") for _ in range(rows.pool.size)]
    for begin, end in zip(rows.start[:-1].tolist(), rows.start[1:].tolist(), strict=True):
        if end > begin:
            model.add_at_most_one(taken[begin:end])
    for pairs, units, limit in _draws(rows, problem.supply):
        uses, whole = _integers(units, limit)
        model.add(cp_model.LinearExpr.weighted_sum([taken[e] for e in pairs], uses) <= whole)
    worth = np.round(rows.value * VALUE_SCALE).astype(np.int64)
    model.maximize(cp_model.LinearExpr.weighted_sum(taken, worth))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = limit_s
    solver.parameters.num_workers = os.cpu_count() or 1
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return _nothing(problem, start)
    chosen = np.flatnonzero([solver.boolean_value(variable) for variable in taken])
    return _answer(problem, rows, _choice(rows, chosen), np.nan, start)


def min_cost_flow(problem: SparseProblem, limit_s: float) -> Answer | None:
    """OR-Tools' min-cost flow, exact where all demands are equal; it knows no limit.

    Requests are sources of one unit; what no pool takes flows to the sink past the pools.
    """
    start = perf_counter()
    rows = problem.rows()
    n, k, pairs = problem.requests, problem.capacity.size, rows.pool.size
    if rows.tenant.size or not pairs or (rows.demand != rows.demand[0]).any():
        return None
    places = np.minimum(problem.capacity * (1.0 + ROOM) / rows.demand[0], n).astype(np.int64)
    worth = np.round(rows.value * VALUE_SCALE).astype(np.int64)
    request, pool, sink = np.arange(n), n + np.arange(k), n + k
    flow = SimpleMinCostFlow()
    flow.add_arcs_with_capacity_and_unit_cost(
        np.concatenate([_request(rows), request, pool]),
        np.concatenate([n + rows.pool, np.full(n + k, sink)]),
        np.concatenate([np.ones(pairs + n, np.int64), places]),
        np.concatenate([-worth, np.zeros(n + k, np.int64)]),
    )
    supplies = np.append(np.ones(n, np.int64), -n)
    flow.set_nodes_supplies(np.append(request, sink), supplies)
    if flow.solve() != flow.OPTIMAL:
        return None
    chosen = np.flatnonzero(flow.flows(np.arange(pairs)) > 0)
    rounded = float(np.abs(rows.value * VALUE_SCALE - worth).max())
    bound = (int(worth[chosen].sum()) + rounded * n) / VALUE_SCALE
    return _answer(problem, rows, _choice(rows, chosen), bound, start)


PEERS: dict[str, Peer] = {
    "greedy": greedy,
    "SciPy LP": scipy_lp,
    "SciPy MILP": scipy_milp,
    "SCIP": scip,
    "CP-SAT": cp_sat,
    "min-cost flow": min_cost_flow,
}


def _request(rows: Rows) -> I64:
    """Request of each pair, (p,)."""
    return np.repeat(np.arange(rows.start.size - 1), np.diff(rows.start))


def _choice(rows: Rows, chosen: NDArray[Any]) -> I64:
    """Pair of each request, -1 = refused, (n,)."""
    choice = np.full(rows.start.size - 1, -1, np.int64)
    choice[_request(rows)[chosen]] = chosen
    return choice


def _answer(
    problem: SparseProblem, rows: Rows, choice: NDArray[Any], bound: float, start: float
) -> Answer:
    assignment = np.full(problem.requests, -1, np.int64)
    served = np.flatnonzero(choice >= 0)
    pair = rows.pair[choice[served]]
    assignment[served] = problem.indices[pair]
    seconds = perf_counter() - start
    return Answer(assignment, float(problem.data[pair].sum()), float(bound), seconds)


def _nothing(problem: SparseProblem, start: float) -> Answer:
    """A search that found nothing in its time."""
    nobody = np.full(problem.requests, -1, np.int64)
    return Answer(nobody, np.nan, np.nan, perf_counter() - start)


def _draws(rows: Rows, supply: Supply) -> list[tuple[I64, F64, float]]:
    """Pairs that draw on each limited pool and budget, what each takes, and the limit."""
    sources = [(rows.pool, rows.demand, supply.capacity)]
    if rows.tenant.size:
        sources.append((rows.tenant[_request(rows)], rows.cost, supply.budget))
    listed = []
    for owner, use, limits in sources:
        for j in np.flatnonzero(np.isfinite(limits)).tolist():
            pairs = np.flatnonzero((owner == j) & (use > 0))
            if pairs.size:
                listed.append((pairs, use[pairs], float(limits[j])))
    return listed


def _integers(use: F64, limit: float) -> tuple[I64, int]:
    """Uses and limit as integers: what fits in integers fits."""
    if (use == np.floor(use)).all() and limit < WHOLE:
        return use.astype(np.int64), int(limit * (1.0 + ROOM))
    scaled = np.ceil(use / limit * WHOLE).astype(np.int64)
    return np.minimum(scaled, WHOLE), WHOLE
