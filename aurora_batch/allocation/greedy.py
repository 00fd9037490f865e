"""Requests in the order given, each takes its best-valued pair that fits."""

import numpy as np

from kernels import repair
from kernels.repair import Plan
from kernels.rows import Rows, Supply


def greedy_plan(rows: Rows, supply: Supply) -> Plan:
    """Return the sequential assignment; ties go to the pair listed first."""
    plan = repair.empty_plan(rows, supply)
    order = np.arange(rows.start.size - 1)
    repair.place_in_order(rows, rows.value, order, plan)
    return plan
