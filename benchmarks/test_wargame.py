"""The war game: the documented run of 120 steps, without its charts."""

from collections.abc import Callable

from aurora_batch.settings import Settings
from aurora_batch.wargame.game import Game, Plan
from aurora_batch.warm_up import warm_up
from benchmarks.ratios import seconds
from pipelines.wargame.account import Run
from pipelines.wargame.play import played, players

SETTINGS = Settings()
PROMISED_S = 2.0


def test_wargame(benchmark: Callable[..., Run]) -> None:
    """Both policies, the clairvoyant, and what each event cost; seed 42."""
    plan = Plan(SETTINGS)

    def run() -> Run:
        return played(Game(plan, players("both", SETTINGS, arrivals=1)))

    warm_up(Game(plan, []).base, SETTINGS)
    done = benchmark(run)
    own = seconds(run, repeat=3)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["seconds"] = round(own, 2)
    info["times_promised"] = round(PROMISED_S / own, 1)
    info["decisions_per_second"] = round(sum(a.offer.size for a in done.accounts) / own)
    info["regret_of_greedy"] = 1 - done.accounts[0].value.sum() / done.whole.value
