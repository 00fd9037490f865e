"""The war game's metrics: names of the contract, on loopback, and the dashboard that asks them."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aurora_batch.settings import Settings
from aurora_batch.wargame.events import DEFAULT_EVENTS
from aurora_batch.wargame.game import Game, Plan
from pipelines import cli
from pipelines.wargame.exporter import Exporter
from pipelines.wargame.play import players

ROOT = Path(__file__).parents[3]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?")
_FUNCTIONS = {"increase", "rate", "sum", "avg", "max", "min", "by", "without", "le"}


def exported() -> dict[str, list[dict[str, str]]]:
    """Return the labels of every sample, by its name, after some steps."""
    plan = Plan(Settings(), DEFAULT_EVENTS, 25)
    game = Game(plan, players("both", plan.settings, arrivals=1))
    exporter = Exporter("global", game.base)
    for stage in game.play():
        exporter.note(stage)
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(exporter.expose().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def test_names_and_labels_are_the_contract() -> None:
    """One treaty, all providers."""
    found = exported()

    for name in ("treaty_fill_rate", "treaty_rtt_ms", "gpu_hours_total"):
        assert found[name] == [{"treaty_id": "SIM-AGG"}]
    for name in ("provider_latency_ms", "provider_reputation"):
        assert [of["provider_id"] for of in found[name]] == list(Settings().providers)


def test_values_are_those_of_the_last_step() -> None:
    """GPU-hours add up; a spike is seen while it lasts."""
    plan = Plan(Settings(), DEFAULT_EVENTS, 66)
    game = Game(plan, players("global", plan.settings, arrivals=1))
    exporter = Exporter("global", game.base)
    hours, latency = 0.0, []
    for stage in game.play():
        exporter.note(stage)
        hours += float(stage.turns["global"].pool_used.sum())
        read = exporter.registry.get_sample_value
        latency.append(read("provider_latency_ms", {"provider_id": "render"}))
        assert read("gpu_hours_total", {"treaty_id": "SIM-AGG"}) == pytest.approx(hours)

    assert [step for step, ms in enumerate(latency) if ms == 620] == list(range(50, 65))
    assert exporter.health() == {"live": True, "step": 65}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_every_expression_of_the_dashboard_finds_its_metric(path: Path) -> None:
    """Names, and label values, are ones that the exporter has; every panel asks something."""
    found = exported()
    dashboard = json.loads(path.read_text(encoding="utf-8"))

    assert dashboard["panels"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    asked = set()
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            bare = re.sub(r"\[[0-9a-z]+\]", "", target["expr"])
            names = [m for m in _SELECTOR.finditer(bare) if m[1] not in _FUNCTIONS]
            names = [m for m in names if not _inside_braces(bare, m.start())]
            assert names, target["expr"]
            for match in names:
                wanted = dict(re.findall(r'([a-z_]+)="([^"]*)"', match[2] or ""))
                assert match[1] in found, target["expr"]
                assert any(wanted.items() <= of.items() for of in found[match[1]]), target["expr"]
                asked.add(match[1])
            for label in re.findall(r"\{\{([a-z_]+)\}\}", target["legendFormat"]):
                assert all(label in of for match in names for of in found[match[1]])
    assert asked == {name for name in found if not name.endswith("_created")}


def _inside_braces(text: str, at: int) -> bool:
    return text.count("{", 0, at) > text.count("}", 0, at)


def test_there_is_a_dashboard() -> None:
    """Else the test above has nothing to say."""
    assert DASHBOARDS


def test_metrics_are_served_on_loopback_while_the_game_is_played(tmp_path: Path) -> None:
    """From the first step until the process is told to stop, which is no failure of its files."""
    command = [sys.executable, "-m", "pipelines.cli", "wargame", "--steps", "4", "--pace", "0"]
    arguments = ["--metrics", "0", "--out", str(tmp_path), "--json"]
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        where = re.search(r"http://127.0.0.1:\d+/metrics", process.stderr.readline())
        assert where is not None
        figures = json.loads(process.stdout.readline())  # the run is over
        with urlopen(where[0], timeout=10) as answer:
            page = answer.read().decode()
        process.terminate()

    assert "treaty_fill_rate{" in page
    assert figures["steps"] == 4
    assert (tmp_path / "report.html").exists()


def test_a_port_that_is_taken_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before the run, with exit 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = cli.main(["wargame", "--steps", "2", "--metrics", port, "--out", str(tmp_path)])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert f"127.0.0.1:{port}" in line
