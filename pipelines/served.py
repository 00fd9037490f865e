"""Who is served: requests and GPU-hours asked for and routed, by job size, tenant and GPU type.

Memory is bounded: sizes are counted in bins, and at most `MOST_NAMES` tenants or GPU types by name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import ANY_OF

F64 = NDArray[np.float64]

# Job sizes are counted in 40 bins a decade, from 0.0001 to 100,000 GPU-hours.
_BINS_A_DECADE = 40
_SIZE_EDGES = np.logspace(-4, 5, 9 * _BINS_A_DECADE + 1)
DECILES = 10
SHOWN = 20  # names; the rest of them are added up
MOST_NAMES = 10_000  # counted by name; those that come later are among the others
NOBODY, OTHERS = "(no tenant)", "(others)"


class Share(NamedTuple):
    """What a group asked for and got."""

    requests: float
    routed: float
    gpu_hours: float
    gpu_hours_routed: float

    @property
    def of_requests(self) -> float:
        """Share of the requests that are routed."""
        return self.routed / self.requests if self.requests else 0.0

    @property
    def of_gpu_hours(self) -> float:
        """Share of the GPU-hours that are routed."""
        return self.gpu_hours_routed / self.gpu_hours if self.gpu_hours else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the object of `--json`."""
        return {
            "requests": round(self.requests),
            "share": self.of_requests,
            "gpu_hours": self.gpu_hours,
            "gpu_hours_share": self.of_gpu_hours,
        }


@dataclass
class Tally:
    """Sums by name, those named first by name and the others together."""

    sums: dict[str, F64] = field(default_factory=dict)  # each as in `Share`
    others: F64 = field(default_factory=lambda: np.zeros(4))

    def add(self, names: list[str], sums: F64) -> None:
        """Add sums, (len(names), 4)."""
        for name, row in zip(names, sums, strict=True):
            if name not in self.sums and len(self.sums) >= MOST_NAMES:
                self.others += row
            else:
                self.sums[name] = self.sums.get(name, np.zeros(4)) + row

    def shares(self) -> dict[str, Share]:
        """Return the `SHOWN` names with most requests, most first, and the others as one."""
        order = sorted(self.sums, key=lambda name: (-self.sums[name][0], name))
        found = {name: Share(*self.sums[name].tolist()) for name in order[:SHOWN]}
        others = sum((self.sums[name] for name in order[SHOWN:]), self.others)
        return found | ({OTHERS: Share(*others.tolist())} if others[0] else {})


@dataclass
class Served:
    """Sums of one contestant; each valid request is counted once."""

    sizes: F64 = field(default_factory=lambda: np.zeros((_SIZE_EDGES.size - 1, 4)))
    tenants: Tally = field(default_factory=Tally)
    gpu_types: Tally = field(default_factory=Tally)

    def add(self, requests: pa.Table, routed: NDArray[np.bool_]) -> None:
        """Count n requests (`tenant_id`, `gpu_type`, `gpu_hours`) and whether each is routed, (n,).

        One that accepts several GPU types counts under each of them.
        """
        hours = np.asarray(requests["gpu_hours"].to_numpy(), np.float64)
        decades = np.log10(hours.clip(1e-4, 1e5)) + 4
        bins = np.minimum((decades * _BINS_A_DECADE).astype(np.int64), len(self.sizes) - 1)
        self.sizes += _sums(bins, len(self.sizes), hours, routed)
        names, index = _coded(requests["tenant_id"])
        self.tenants.add(names, _sums(index, len(names), hours, routed))
        names, index = _coded(requests["gpu_type"])
        for accepted, row in zip(names, _sums(index, len(names), hours, routed), strict=True):
            each = accepted.split(ANY_OF)
            self.gpu_types.add(each, np.tile(row, (len(each), 1)))

    def by_size(self) -> list[tuple[float, Share]]:
        """Return (largest GPU-hours, share) of each tenth of the requests by size."""
        return list(self._deciles())

    def _deciles(self) -> Iterator[tuple[float, Share]]:
        asked = self.sizes[:, 0]
        tenths = np.arange(1, DECILES + 1) / DECILES * asked.sum()
        cuts = np.minimum(np.searchsorted(np.cumsum(asked), tenths), asked.size - 1)
        low = 0
        for cut in cuts.tolist():
            if cut >= low and asked[low : cut + 1].sum():
                part = self.sizes[low : cut + 1].sum(axis=0)
                yield float(_SIZE_EDGES[cut + 1]), Share(*part.tolist())
            low = max(low, cut + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of `--json`."""
        return {
            "by_size": [{"up_to_gpu_hours": e, **s.to_dict()} for e, s in self._deciles()],
            "by_tenant": {name: s.to_dict() for name, s in self.tenants.shares().items()},
            "by_gpu_type": {name: s.to_dict() for name, s in self.gpu_types.shares().items()},
        }


def _coded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return distinct names, and the place of each entry among them, (n,)."""
    encoded = column.combine_chunks().fill_null(NOBODY).dictionary_encode()
    index = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
    return encoded.dictionary.to_pylist(), index


def _sums(index: NDArray[np.int64], size: int, hours: F64, routed: NDArray[np.bool_]) -> F64:
    """Add up each group of requests as in `Share`, shape (size, 4)."""
    which = 2 * index + routed
    count = np.bincount(which, minlength=2 * size).reshape(size, 2)
    asked = np.bincount(which, hours, minlength=2 * size).reshape(size, 2)
    return np.stack([count.sum(axis=1), count[:, 1], asked.sum(axis=1), asked[:, 1]], axis=1)
