"""Whole windows, decided as they come: what each contestant reaches of the bound in hindsight."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aurora_batch import router
from aurora_batch.hindsight import Hindsight, Judged
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from benchmarks.families import FAMILIES, TENTHS
from benchmarks.horizons import GPUS, NAMES, WINDOW_US, Horizon, horizon, judge


@pytest.mark.parametrize("family", ["steady", "late", "burst"])
def test_as_it_comes(benchmark: Callable[..., list[Judged]], family: str) -> None:
    """10,000 requests a window, about 100 a batch, on 7 pools, demand 1.2 x capacity."""
    h = horizon(family, 1.2, pools=7)
    warm_up(h.fleet, h.settings)
    windows = benchmark.pedantic(lambda: list(judge(h)), rounds=1)  # type: ignore[attr-defined]
    counted = windows[h.family.judged :]
    info = benchmark.extra_info  # type: ignore[attr-defined]
    for at, name in enumerate(NAMES):
        info[f"{name}_percent_of_bound"] = 100 * np.mean([w.values[at] / w.bound for w in counted])


def test_judging_a_window(benchmark: Callable[..., Judged | None]) -> None:
    """The bound and the value of one window of 10,000 requests and 64 pools, off the hot path."""
    h = horizon("steady", 1.2)
    batch = h.requests.slice(0, 10_000)
    state = router.initial_state(h.fleet, h.settings)
    step = router.step(batch, h.fleet, state, h.settings, policy=Policy.GREEDY)

    def run() -> Judged | None:
        whole = Hindsight(h.fleet, h.settings)
        whole.add(step.batch.window_us, batch, [step.offer])
        return whole.finish()

    assert benchmark(run) is not None


def tenths(h: Horizon) -> Iterator[tuple[float, float]]:
    """Requests and GPU-hours of each tenth of a window."""
    start = h.requests["requested_at"].cast(pa.int64()).to_numpy()
    at = (start - start.min() // WINDOW_US * WINDOW_US) // (WINDOW_US // TENTHS)
    size = TENTHS * h.family.windows
    hours = np.bincount(at, h.requests["gpu_hours"].to_numpy(), minlength=size)
    yield from zip(np.bincount(at, minlength=size), hours, strict=True)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "single"])
@pytest.mark.parametrize("load", [0.8, 2.0])
def test_families_are_as_they_say(name: str, load: float) -> None:
    """Demand by tenth of a window, and its mean over capacity."""
    h = horizon(name, load, pools=7, seed=3)
    count, hours = (
        np.array(x, np.float64).reshape(-1, TENTHS) for x in zip(*tenths(h), strict=True)
    )
    mean = hours[: -1 if name == "stops" else None].sum(axis=1).mean()
    half = TENTHS // 2
    second = count[:, half:].sum() / count.sum()

    assert mean / h.fleet.pool_capacity.sum() == pytest.approx(h.family.load or load)
    if name not in ("burst", "stops"):
        assert second == pytest.approx({"late": 2 / 3, "early": 1 / 3}.get(name, 0.5), abs=0.01)
    levels = count.sum(axis=1) / count[0].sum()
    jump = {"up": 1.4, "down": 0.6}.get(name, 1.0)
    assert levels[2] == pytest.approx(jump, abs=0.05)
    assert levels[[1, 3]] == pytest.approx([1.0, 1.0], abs=0.05)
    if name == "burst":
        assert count.max(axis=1) / np.median(count, axis=1) == pytest.approx([10] * 6, rel=0.15)
    if name == "stops":
        assert (count[-1, :6] > 0).all()
        assert not count[-1, 6:].any()
        assert (count[:-1] > 0).all()
    if name == "bigger":
        ratio = hours[:, half:].sum() / count[:, half:].sum() * count[:, :half].sum()
        assert ratio / hours[:, :half].sum() == pytest.approx(1.5, rel=0.03)


def test_the_same_seed_gives_the_same_log() -> None:
    """And another one another."""
    first, again, other = (horizon("burst", 1.2, 7, seed) for seed in (1, 1, 2))

    assert first.requests.equals(again.requests)
    assert first.fleet.version == again.fleet.version
    assert not first.requests.equals(other.requests)
    assert Settings().router.objective == first.settings.router.objective


def test_shares_of_the_requests_are_choosy_or_not() -> None:
    """`picky` ones limit latency and reputation, `flexible` ones run on any GPU, anywhere."""
    plain = horizon("steady", 1.2, 7, per_window=1000).requests
    picky = horizon("steady", 1.2, 7, per_window=1000, picky=0.65).requests
    flexible = horizon("steady", 1.2, 7, per_window=1000, flexible=0.3).requests
    anything = pc.equal(flexible["gpu_type"], "|".join(sorted(GPUS)))
    taken = flexible.filter(anything)

    assert plain["max_latency_ms"].null_count == plain["min_reputation"].null_count == len(plain)
    assert picky["max_latency_ms"].is_valid().to_numpy().mean() == pytest.approx(0.65, abs=0.03)
    assert picky["min_reputation"].is_valid().equals(picky["max_latency_ms"].is_valid())
    assert len(taken) / len(flexible) == pytest.approx(0.3, abs=0.03)
    assert set(taken["region"].to_pylist()) == {"global"}
    assert taken["max_price"].null_count == len(taken)
    rest = pc.invert(anything)
    assert flexible.filter(rest).equals(plain.filter(rest))
