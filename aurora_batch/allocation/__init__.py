"""Allocation of pool capacity and tenant budgets over a batch of requests."""

from aurora_batch.allocation.certificate import Certificate, check
from aurora_batch.allocation.problem import AllocationProblem, SparseProblem
from aurora_batch.allocation.result import Allocation, Prices
from aurora_batch.allocation.solver import find_prices, solve

__all__ = [
    "Allocation",
    "AllocationProblem",
    "Certificate",
    "Prices",
    "SparseProblem",
    "check",
    "find_prices",
    "solve",
]
