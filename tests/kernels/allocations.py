"""Rows of random problems for the tests of the allocation kernels."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.rows import Columns, Rows, Supply, by_pool
from tests.aurora_batch.allocation.problems import random_problem

F64 = NDArray[np.float64]


class Case(NamedTuple):
    """A market at random prices."""

    rows: Rows
    columns: Columns
    supply: Supply
    price: F64
    budget_price: F64


def case(seed: int) -> Case:
    """Rows of a random problem; prices are zero, right for some, or huge."""
    rng = np.random.default_rng([seed, 1])
    problem = random_problem(seed, int(rng.integers(0, 30)), int(rng.integers(0, 7)))
    sparse = problem.sparse()
    rows, supply = sparse.rows(), sparse.supply
    price = rng.random(supply.capacity.size) * rng.choice([0.0, 1.0, 1e9])
    budget_price = rng.random(supply.budget.size) * rng.choice([0.0, 1.0])
    return Case(rows, by_pool(rows, supply.capacity.size), supply, price, budget_price)


cases = st.integers(0, 2**32 - 1).map(case)
