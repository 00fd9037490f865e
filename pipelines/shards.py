"""Which part of the request topic a worker owns, and which part of the fleet goes with it."""

import re
from dataclasses import dataclass

import msgspec

from aurora_batch.adapters.kafka import partition_of_key
from aurora_batch.errors import UsageError
from aurora_batch.model import normalize_gpu
from aurora_batch.settings import ProviderSettings, Settings


@dataclass(frozen=True)
class Shard:
    """One of `count` workers: it owns the partitions p with p % count == index."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of `I/N`; raises `UsageError` where that is none."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or not int(match[1]) < int(match[2]):
            raise UsageError(
                f"--shard {text}: expected I/N with 0 <= I < N, such as 0/2 and 1/2 for two workers"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """`I/N`."""
        return f"{self.index}/{self.count}"

    @property
    def label(self) -> str:
        """What tells its batch ids apart; nothing where it is the only shard."""
        return str(self) if self.count > 1 else ""

    def partitions(self, count: int) -> list[int]:
        """Return which of a topic's partitions are its own.

        Raises `UsageError` where it would own none.
        """
        own = list(range(self.index, count, self.count))
        if not own:
            raise UsageError(
                f"--shard {self}: the topic of requests has {count} partitions, none for this "
                f"shard; expected N <= {count}"
            )
        return own

    def identity(self, group: str, topic: str) -> str:
        """Return the name that one worker at a time may have: its transactional id.

        It is also the key of its ledger.
        """
        return f"aurora-{group}-{topic}-shard-{self.index}-of-{self.count}"

    def share(self, settings: Settings) -> Settings:
        """Return settings with this shard's part of capacities and budgets.

        All shards together then never exceed a pool or a budget, without talking to each other.
        By `kafka.split: equal` each has an equal part of every pool; by `gpu_type`, where producers
        key requests by it, a pool belongs as a whole to the shard that reads its GPU type. Budgets
        are divided equally. Raises `UsageError` where a pool would belong to two shards.
        """
        if self.count == 1:
            return settings
        tenants = {
            name: msgspec.structs.replace(t, budget_usd_per_step=t.budget_usd_per_step / self.count)
            if t.budget_usd_per_step is not None
            else t
            for name, t in settings.tenants.items()
        }
        by_key = settings.kafka.split == "gpu_type"
        providers = {
            name: self._keyed(name, p, settings.kafka.partitions) if by_key else self._equal(p)
            for name, p in settings.providers.items()
        }
        return msgspec.structs.replace(settings, tenants=tenants, providers=providers)

    def _equal(self, provider: ProviderSettings) -> ProviderSettings:
        capacity = provider.capacity_gpu_hours_per_step
        part = (
            {gpu: hours / self.count for gpu, hours in capacity.items()}
            if isinstance(capacity, dict)
            else capacity / self.count
        )
        return msgspec.structs.replace(provider, capacity_gpu_hours_per_step=part)

    def _keyed(self, name: str, provider: ProviderSettings, partitions: int) -> ProviderSettings:
        capacity = provider.capacity_gpu_hours_per_step
        owners = {
            gpu: partition_of_key(gpu.encode(), partitions) % self.count
            for gpu in map(normalize_gpu, provider.base_price_usd_per_hour)
        }
        if isinstance(capacity, dict):
            part = {
                gpu: hours if owners[normalize_gpu(gpu)] == self.index else 0.0
                for gpu, hours in capacity.items()
            }
            return msgspec.structs.replace(provider, capacity_gpu_hours_per_step=part)
        if len(set(owners.values())) > 1:
            places = ", ".join(f"{gpu} to shard {i}" for gpu, i in sorted(owners.items()))
            raise UsageError(
                f"providers.{name} has one capacity for GPU types that kafka.split=gpu_type sends "
                f"to several shards, which would all spend it ({places}); state "
                "capacity_gpu_hours_per_step by GPU type, or set kafka.split=equal"
            )
        own = capacity if self.index in owners.values() else 0.0
        return msgspec.structs.replace(provider, capacity_gpu_hours_per_step=own)


WHOLE = Shard()
