"""Problems check their arguments and name what is wrong."""

from typing import Any

import numpy as np
import pytest

from aurora_batch.allocation import AllocationProblem, SparseProblem
from tests import naive_allocation as naive
from tests.aurora_batch.allocation.problems import random_problem

DENSE: dict[str, Any] = {
    "values": np.ones((2, 3)),
    "demand": np.ones(2),
    "pool": np.array([0, 1, 1]),
    "capacity": np.ones(2),
}
BUDGETS: dict[str, Any] = {
    "tenant": np.array([0, -1]),
    "cost": np.ones((2, 3)),
    "budget": np.ones(1),
}
SPARSE: dict[str, Any] = {
    "data": np.ones(3),
    "indices": np.array([0, 2, 1]),
    "indptr": np.array([0, 2, 3]),
    "demand": np.ones(2),
    "pool": np.array([0, 1, 1]),
    "capacity": np.ones(2),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones(3)}, r"values of shape \(n, m\), got \(3,\)"),
        ({"values": np.full((2, 3), np.nan)}, "finite values, got nan"),
        ({"values": np.full((2, 3), "a")}, "values of a float64 kind"),
        ({"demand": np.ones(3)}, r"demand of shape \(2,\) or \(2, 3\), got \(3,\)"),
        ({"demand": np.array([1, 0])}, "finite demand > 0, got 0"),
        ({"demand": np.array([1, np.inf])}, "finite demand > 0, got inf"),
        ({"pool": np.array([0, 1])}, r"pool of shape \(3,\), got \(2,\)"),
        ({"pool": np.array([0, 1, 2])}, "0 <= pool < 2, got 2"),
        ({"pool": np.array([0.5, 1, 1])}, "pool of a int32 kind, got float64"),
        ({"capacity": np.array([1, -3.0])}, r"capacity >= 0, got -3\.0"),
        ({"capacity": np.array([1, np.nan])}, "capacity >= 0, got nan"),
        ({"mask": np.ones((3, 2), np.bool_)}, r"mask of shape \(2, 3\), got \(3, 2\)"),
        ({"mask": np.ones((2, 3))}, "mask of a bool kind, got float64"),
        ({"tenant": np.array([0, 0])}, "tenant, cost and budget together, got no cost"),
        ({**BUDGETS, "tenant": np.array([0, 1])}, "-1 <= tenant < 1, got 1"),
        ({**BUDGETS, "cost": np.full((2, 3), -1.0)}, r"cost >= 0, got -1\.0"),
        ({**BUDGETS, "cost": np.full((2, 3), np.inf)}, "finite cost, got inf"),
        ({**BUDGETS, "budget": np.array([np.nan])}, "budget >= 0, got nan"),
    ],
)
def test_dense_arguments_are_checked(change: dict[str, Any], message: str) -> None:
    """A bad argument is named, with what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        AllocationProblem(**{**DENSE, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": np.array([0, 3, 1])}, "0 <= indices < 3, got 3"),
        ({"indices": np.array([0, 1])}, r"indices of shape \(3,\), got \(2,\)"),
        ({"indptr": np.array([0, 4, 3])}, "indptr to ascend from 0 to 3"),
        ({"indptr": np.array([], np.int64)}, r"indptr of shape \(n \+ 1,\)"),
        ({"rest": np.array([0.0, np.nan])}, "finite rest, got nan"),
        ({"demand": np.ones(4)}, r"demand of shape \(2,\) or \(3,\), got \(4,\)"),
    ],
)
def test_sparse_arguments_are_checked(change: dict[str, Any], message: str) -> None:
    """A bad argument is named, with what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        SparseProblem(**{**SPARSE, **change})


def test_what_is_masked_may_hold_anything() -> None:
    """NaN in a masked pair is nobody's business."""
    values, mask = np.ones((2, 3)), np.ones((2, 3), np.bool_)
    values[0, 1], mask[0, 1] = np.nan, False

    assert AllocationProblem(**{**DENSE, "values": values, "mask": mask}).sparse().data.size == 5


def test_rows_are_the_usable_pairs() -> None:
    """Rows list the pairs that a plain loop finds usable, with their numbers."""
    for seed in range(60):
        problem = random_problem(seed)
        sparse = problem.sparse()
        rows = sparse.rows()
        offers = [
            sparse.indices[rows.pair[a:b]].tolist()
            for a, b in zip(rows.start[:-1], rows.start[1:], strict=True)
        ]

        assert offers == naive.usable(problem)
        request = np.repeat(np.arange(len(offers)), np.diff(rows.start))
        chosen = sparse.indices[rows.pair]
        assert np.array_equal(rows.value, problem.values[request, chosen])
        assert np.array_equal(rows.pool, problem.pool[chosen])
        assert rows.demand.tolist() == [
            naive.demand(problem, i, j) for i, j in zip(request, chosen, strict=True)
        ]
