"""Who decides a log: a policy under settings of its own, by name."""

from dataclasses import dataclass

from aurora_batch.hindsight import without_lookahead
from aurora_batch.model import Policy
from aurora_batch.settings import Settings

GREEDY, BATCH_ONLY, GLOBAL = "greedy", "batch_only", "global"
BOTH = "both"


@dataclass(frozen=True)
class Contestant:
    """One way to decide; windows, batches and fleet are the same for all."""

    name: str
    policy: Policy
    settings: Settings


def contestants(said: str | None, settings: Settings, *, as_live: bool) -> list[Contestant]:
    """Return who decides, the one whose decisions are asked for last.

    A window that is solved at once has nothing to look ahead to; as live, `both` adds `batch_only`,
    which is `global` without its look-ahead.

    Parameters
    ----------
    said
        A policy's name or `both`; None: the configured policy.
    """
    own = settings if as_live else without_lookahead(settings)
    if said != BOTH:
        policy = Policy(said) if said else settings.router.effective_policy
        return [Contestant(str(policy), policy, own)]
    greedy = Contestant(GREEDY, Policy.GREEDY, own)
    between = [Contestant(BATCH_ONLY, Policy.GLOBAL, without_lookahead(settings))]
    return [greedy, *(between if as_live else []), Contestant(GLOBAL, Policy.GLOBAL, own)]
