"""`aurora wargame` from outside: its files, its bytes, its figures, its errors."""

import csv
import json
from pathlib import Path

import pytest

from pipelines import cli

FILES = {
    "step_metrics.csv", "routing_decisions.csv", "provider_metrics_over_time.csv",
    "event_costs.csv", "provider_slos.csv", "report.html", "chart_fill_rate.png",
    "chart_avg_latency.png", "chart_avg_cost.png", "chart_capacity.png", "chart_dropped.png",
    "chart_regret.png",
}  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documented scenario, seed 42."""
    out = tmp_path_factory.mktemp("wargame") / "new" / "out"
    assert cli.main(["wargame", "--out", str(out), "--quiet"]) == 0
    return out


def test_outputs_are_complete(default_run: Path) -> None:
    """Every file, every column of the contract, a row for each player's step."""
    assert {p.name for p in default_run.iterdir()} == FILES
    steps = rows(default_run / "step_metrics.csv")
    assert list(steps[0])[:13] == [
        "step", "total_requests", "routed", "dropped", "fill_rate", "avg_cost_usd_per_request",
        "avg_latency_ms", "credits_minted", "credits_burned", "value", "bound", "gap", "regret",
    ]  # fmt: skip
    for policy in ("greedy", "global"):
        assert [int(r["step"]) for r in steps if r["policy"] == policy] == list(range(120))
    decisions = rows(default_run / "routing_decisions.csv")
    assert {"step", "tenant", "workload", "gpu", "hours", "provider", "accepted", "latency_ms",
            "price_usd_per_hour", "reason"} <= set(decisions[0])  # fmt: skip
    assert len(decisions) == sum(int(r["total_requests"]) for r in steps)
    providers = rows(default_run / "provider_metrics_over_time.csv")
    assert {"step", "provider", "active", "capacity_gpu_hours", "latency_ms", "price_usd_per_hour",
            "reputation", "utilisation", "shadow_price"} <= set(providers[0])  # fmt: skip
    assert len(providers) == 2 * 120 * 7


def test_steps_add_up(default_run: Path) -> None:
    """Requests are routed or dropped, credits are what was paid, regret is never negative."""
    by_step: dict[tuple[str, str], list[dict[str, str]]] = {}
    for decision in rows(default_run / "routing_decisions.csv"):
        by_step.setdefault((decision["policy"], decision["step"]), []).append(decision)
    for row in rows(default_run / "step_metrics.csv"):
        made = by_step[row["policy"], row["step"]]
        routed = [d for d in made if d["accepted"] == "true"]
        assert (int(row["total_requests"]), int(row["routed"])) == (len(made), len(routed))
        assert int(row["dropped"]) == len(made) - len(routed)
        paid = sum(float(d["price_usd_per_hour"]) * float(d["hours"]) for d in routed)
        assert float(row["avg_cost_usd_per_request"]) == pytest.approx(paid / len(routed))
        assert float(row["credits_burned"]) == pytest.approx(paid / 1.8)
        assert float(row["fill_rate"]) == pytest.approx(len(routed) / len(made))
        assert float(row["regret"]) >= -1e-9
        assert float(row["value"]) <= float(row["bound"]) + 1e-9


def test_events_show_in_the_providers(default_run: Path) -> None:
    """The documented scenario, on its steps and no others."""
    found = {
        (r["provider"], int(r["step"])): r
        for r in rows(default_run / "provider_metrics_over_time.csv")
        if r["policy"] == "global"
    }

    def steps(provider: str, column: str, usual: str) -> list[int]:
        return [s for s in range(120) if found[provider, s][column] != usual]

    assert steps("vast", "price_usd_per_hour", "0.8") == list(range(20, 30))
    assert steps("akash", "active", "true") == list(range(35, 45))
    assert steps("render", "latency_ms", "420") == list(range(50, 65))
    assert steps("ionet", "capacity_gpu_hours", "180") == list(range(70, 95))
    assert steps("salad", "reputation", "55") == list(range(90, 110))
    slo = {(r["provider"], r["policy"]): r for r in rows(default_run / "provider_slos.csv")}
    assert float(slo["akash", "global"]["uptime"]) == pytest.approx(110 / 120)
    assert slo["akash", "global"]["mean_steps_to_recovery"] == "10"
    assert slo["flux", "greedy"]["mean_steps_to_recovery"] == ""


def test_the_same_run_gives_the_same_bytes(default_run: Path, tmp_path: Path) -> None:
    """Every file of it, charts and page as well."""
    assert cli.main(["wargame", "--out", str(tmp_path), "--quiet"]) == 0

    for path in default_run.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_page_loads_nothing(default_run: Path) -> None:
    """Six charts inside, and all tables."""
    page = (default_run / "report.html").read_text(encoding="utf-8")

    assert page.count("data:image/png;base64,") == 6
    assert "http://" not in page
    assert "https://" not in page
    for words in ("clairvoyant", "What each event changed", "akash outage", "uptime"):
        assert words in page


def test_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object; more is filled and lost where requests wait and come in parts."""
    said = ["wargame", "--steps", "12", "--load", "10", "--json", "--out", str(tmp_path)]

    assert cli.main(said) == 0
    plain = json.loads(capsys.readouterr().out)
    assert cli.main([*said, "--patience", "2", "--arrivals", "4"]) == 0
    waiting = json.loads(capsys.readouterr().out)

    assert list(plain["policies"]) == ["greedy", "global"]
    assert list(waiting["policies"]) == ["greedy", "batch_only", "global"]
    for found in (plain, waiting):
        best = found["optimum"]
        assert best["value"] <= best["bound"]
        for of in found["policies"].values():
            assert -1e-9 <= of["regret"] <= of["gap"] + 1e-12
            assert of["value"] <= best["value"] + 1e-9
        lost = {name: of["regret"] for name, of in found["policies"].items()}
        assert lost["global"] < lost["greedy"]


def test_one_policy_plays_alone(tmp_path: Path) -> None:
    """And the files have its rows only."""
    assert cli.main(["wargame", "--steps", "3", "--policy", "greedy", "--out", str(tmp_path),
                     "--quiet"]) == 0  # fmt: skip

    assert {r["policy"] for r in rows(tmp_path / "step_metrics.csv")} == {"greedy"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", "0"), "--steps 0: expected a whole number >= 1"),
        (("--seed", "-1"), "--seed -1: expected a whole number >= 0"),
        (("--load", "0"), "--load 0: expected a number > 0"),
        (("--load", "nan"), "--load nan: expected a number > 0"),
        (("--demand", "-2"), "--demand -2: expected a number > 0"),
        (("--arrivals", "0"), "--arrivals 0: expected"),
        (("--patience", "-1"), "--patience -1: expected"),
        (("--runs", "0"), "--runs 0: expected"),
        (("--metrics", "70000"), "--metrics 70000: expected a port"),
        (("--search", "--runs", "3"), "--search and --runs: expected one of the two"),
        (("--scenario", "absent.yaml"), "absent.yaml: the file is unreadable"),
        (("--set", "tenants={}"), "no tenant asks for anything"),
        (("--load", "2", "--demand", "2"), "not allowed with argument"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and nothing is written."""
    try:
        code = cli.main(["wargame", "--out", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said in line
    assert not (tmp_path / "out").exists()


def test_an_unknown_provider_and_a_negative_duration_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name file, entry, value and what was expected."""
    scenario = tmp_path / "scenario.yaml"
    for text, said in (
        ("{type: outage, step: 1, target: nobody}", "events.0.target is 'nobody'; expected one of"),
        ("{type: outage, step: 1, target: akash, duration: -5}", "events.0.duration is -5; expe"),
    ):
        scenario.write_text(f"events: [{text}]")
        assert cli.main(["wargame", "--scenario", str(scenario), "--out", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_a_budget_of_zero_is_a_run(tmp_path: Path) -> None:
    """Its tenant is refused for its budget."""
    zero = "tenants.tenant-dao.budget_usd_per_step=0"
    assert cli.main(["wargame", "--steps", "3", "--set", zero, "--out", str(tmp_path),
                     "--quiet"]) == 0  # fmt: skip

    made = rows(tmp_path / "routing_decisions.csv")
    assert {r["reason"] for r in made if r["tenant"] == "tenant-dao"} == {"budget_exceeded"}
    assert {r["reason"] for r in made if r["tenant"] != "tenant-dao"} == {"ok"}
