"""Which part of the request topic a worker owns, and which part of the fleet goes with it."""

import re
from dataclasses import dataclass

import msgspec

from aurora_batch.errors import UsageError
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
        """Return settings with this shard's part of capacities and budgets: an equal one.

        All shards together then never exceed a pool or a budget, without talking to each other.
        """
        if self.count == 1:
            return settings
        tenants = {
            name: msgspec.structs.replace(t, budget_usd_per_step=t.budget_usd_per_step / self.count)
            if t.budget_usd_per_step is not None
            else t
            for name, t in settings.tenants.items()
        }
        providers = {name: self._part(p) for name, p in settings.providers.items()}
        return msgspec.structs.replace(settings, tenants=tenants, providers=providers)

    def _part(self, provider: ProviderSettings) -> ProviderSettings:
        capacity = provider.capacity_gpu_hours_per_step
        part = (
            {gpu: hours / self.count for gpu, hours in capacity.items()}
            if isinstance(capacity, dict)
            else capacity / self.count
        )
        return msgspec.structs.replace(provider, capacity_gpu_hours_per_step=part)


WHOLE = Shard()
