"""What is said about `auto` beside the optimum."""

from benchmarks.small_problems import Comparison, compared, summary, worst


def comparison(seed: int, value: float) -> Comparison:
    """A problem whose optimum is 100."""
    return Comparison(seed, 10, value, 100.0, True, 100.0, "optimal", 0.1, 0.2)


def test_equal_is_within_a_billionth() -> None:
    """A last digit does not count, and nor does a value above what MILP's tolerance ends at."""
    found = [comparison(s, v) for s, v in enumerate((100.0, 100.0 - 1e-8, 100.1, 99.0))]

    assert summary(found)["equal_percent"] == 75.0
    assert summary(found)["off_percent_q100"] == 1.0


def test_the_worst_come_first() -> None:
    """Problems that were missed, furthest off first."""
    found = [comparison(s, v) for s, v in enumerate((99.9, 100.0, 98.0))]

    assert [c.seed for c in worst(found)] == [2, 0]


def test_a_small_problem_is_compared() -> None:
    """Both ways end on a problem that is easy for both."""
    found = compared(seed=1, deadline_s=1.0, limit_s=20.0)

    assert found.proven
    assert found.off <= 1e-9
