"""What a solve returns: an assignment and the prices that prove how good it is."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Status = Literal["optimal", "target_gap", "deadline", "work_limit"]


class Prices(NamedTuple):
    """Shadow prices, all >= 0: what one more unit would be worth."""

    pool: NDArray[np.float64]  # (k,) value per unit
    budget: NDArray[np.float64]  # (t,) value per USD


@dataclass(frozen=True)
class Allocation:
    """Who gets what, and the certificate.

    `bound` is always what `pool_prices` and `budget_prices` prove by weak duality, so that `check`
    can compute it again. `status` says why the solve stopped:

    - `optimal`: nothing better exists, by the prices (`gap` is 0 up to rounding) or because an
      exact search ended. The second can leave a gap above 0, as prices prove the optimum of the
      relaxed problem, in which requests may be split.
    - `target_gap`: the gap asked for is reached.
    - `deadline`: the time was up.
    - `work_limit`: the counted work was used up, or there was nothing left to try.
    """

    assignment: NDArray[np.int64]  # (n,) offer, -1 = refused
    value: float
    bound: float  # no allocation is worth more
    gap: float  # (bound - value) / bound, 0 where bound is 0
    pool_prices: NDArray[np.float64]  # (k,) >= 0, value per unit
    budget_prices: NDArray[np.float64]  # (t,) >= 0, value per USD
    status: Status
    seconds: float  # for people; nothing may depend on it
    work: int  # units done: pairs visited and looks at the limits; until a deadline, if one struck
    struck: bool = False  # by a deadline: `solve` with `stop_at=work` ends at the same moment

    @property
    def prices(self) -> Prices:
        """The prices, as `solve(..., warm_start=)` takes them."""
        return Prices(self.pool_prices, self.budget_prices)


def relative_gap(value: float, bound: float) -> float:
    """(bound - value) / bound, and 0 where the bound is 0."""
    return (bound - value) / bound if bound > 0 else 0.0
