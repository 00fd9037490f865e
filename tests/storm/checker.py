"""What must hold of committed decisions, checked one by one as they are read.

Every request once; within a partition in the order of the requests; no pool and no budget over, of
any shard in any window, after each single decision: sums only grow, so this covers every committed
prefix. Batches of a shard and window are numbered without a gap.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from aurora_batch.settings import Settings
from tests.storm.load import Load

ROUNDING = 1e-9  # relative, of sums
EXAMPLES = 3


class Decision(msgspec.Struct):
    """The fields of a decision that the checker needs."""

    request_id: str
    batch_id: str
    window: str
    provider: str | None
    gpu_type: str | None
    price_usd_per_hour: float | None
    cost_usd: float | None


@dataclass
class Found:
    """Violations by kind, with the first few of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: str) -> None:
        """Count one."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(example)

    def lines(self) -> list[str]:
        """Return a line for each kind."""
        return [
            f"{kind}: {count:,}, such as {'; '.join(self.examples[kind])}"
            for kind, count in self.counts.items()
        ]


class Checker:
    """`add` each committed decision as it is read, `finish` at the end, then look at `found`.

    Parameters
    ----------
    shards
        Each has this part of every pool and budget.
    """

    def __init__(self, load: Load, shards: int) -> None:
        self._load = load
        self._settings = load.settings
        self._shards = shards
        self._decode = msgspec.json.Decoder(Decision).decode
        self._seen = [bytearray(n) for n in load.counts]
        self._last = [-1] * len(load.counts)
        self._hours: dict[tuple[str, str, str], float] = defaultdict(float)
        self._spent: dict[tuple[str, str, str], float] = defaultdict(float)
        self._batches: dict[tuple[str, str], set[int]] = defaultdict(set)
        self._pools = _pools(self._settings)
        self.found = Found()
        self.decided = 0  # distinct requests

    def add(self, value: bytes) -> str:
        """Check the next decision of its partition; return its shard."""
        decision = self._decode(value)
        partition, number = map(int, decision.request_id.split("-"))
        shard = self._batch(decision, partition)
        self._once(decision.request_id, partition, number)
        if decision.provider is not None:
            self._charge(decision, shard, self._load.tenants[partition][number])
        return shard

    def _batch(self, decision: Decision, partition: int) -> str:
        shard, _, rest = decision.batch_id.rpartition("/")
        if shard:
            shard = f"{shard}/{rest.partition('-')[0]}"
            if int(shard.partition("/")[0]) != partition % self._shards:
                self.found.add("decided by another shard", decision.request_id)
        number = int(decision.batch_id.rpartition("-")[2])
        self._batches[shard, decision.window].add(number)
        return shard

    def _once(self, request_id: str, partition: int, number: int) -> None:
        if self._seen[partition][number]:
            self.found.add("decided twice", request_id)
        else:
            self._seen[partition][number] = 1
            self.decided += 1
            if number < self._last[partition]:
                self.found.add("out of order", f"{request_id} after {self._last[partition]}")
        self._last[partition] = max(number, self._last[partition])

    def _charge(self, decision: Decision, shard: str, tenant: str | None) -> None:
        assert decision.provider is not None
        assert decision.cost_usd is not None
        assert decision.price_usd_per_hour is not None
        pool = decision.provider
        if pool not in self._pools:
            pool = f"{pool}/{decision.gpu_type}"
        of_pool = shard, decision.window, pool
        self._hours[of_pool] += decision.cost_usd / decision.price_usd_per_hour
        if self._hours[of_pool] > self._pools[pool] / self._shards * (1 + ROUNDING):
            self.found.add("pool over", f"{of_pool}: {self._hours[of_pool]}")
        budget = self._budget(tenant)
        if tenant is not None and budget is not None:
            of_tenant = shard, decision.window, tenant
            self._spent[of_tenant] += decision.cost_usd
            if self._spent[of_tenant] > budget / self._shards * (1 + ROUNDING):
                self.found.add("budget over", f"{of_tenant}: {self._spent[of_tenant]}")

    def _budget(self, tenant: str | None) -> float | None:
        known = self._settings.tenants.get(tenant or "")
        return None if known is None else known.budget_usd_per_step

    def finish(self) -> Found:
        """Look for what is missing; return everything found."""
        for partition, seen in enumerate(self._seen):
            for number, done in enumerate(seen):
                if not done:
                    self.found.add("missing", f"{partition}-{number}")
        for (shard, window), numbers in self._batches.items():
            if len(numbers) != max(numbers):
                self.found.add("batches with a gap", f"{shard} {window}: {len(numbers)}")
        return self.found

    @property
    def pool_use(self) -> float:
        """Mean over shards and windows of the share of the fullest pool that is used."""
        return self._fullest(self._hours, self._pools)

    @property
    def budget_use(self) -> float:
        """The same of the budget that is used most."""
        return self._fullest(
            self._spent, {t: self._budget(t) or 0.0 for t in self._settings.tenants}
        )

    def _fullest(
        self, used: Mapping[tuple[str, str, str], float], whole: Mapping[str, float]
    ) -> float:
        shares: dict[tuple[str, str], float] = defaultdict(float)
        for (shard, window, name), amount in used.items():
            share = amount / (whole[name] / self._shards)
            shares[shard, window] = max(share, shares[shard, window])
        return sum(shares.values()) / len(shares) if shares else 0.0


def _pools(settings: Settings) -> dict[str, float]:
    """Return the GPU-hours of each pool: a provider's, or of one GPU type at a provider."""
    pools: dict[str, float] = {}
    for name, provider in settings.providers.items():
        capacity = provider.capacity_gpu_hours_per_step
        if isinstance(capacity, dict):
            pools |= {f"{name}/{gpu.lower()}": hours for gpu, hours in capacity.items()}
        else:
            pools[name] = capacity
    return pools
