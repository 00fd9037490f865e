"""`aurora demo` as a person runs it, smaller."""

import json
import subprocess
import sys
from pathlib import Path

REQUESTS = 3_000


def demo(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, in an empty folder."""
    command = [sys.executable, "-m", "pipelines.cli", "demo", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110)


def test_every_request_comes_back_decided_once(tmp_path: Path) -> None:
    """What is read from the topic of decisions is one decision for each request sent."""
    done = demo("--requests", str(REQUESTS), "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    lines = (tmp_path / "out/demo/decisions.ndjson").read_text().splitlines()
    ids = [json.loads(line)["request_id"] for line in lines]

    assert len(ids) == len(set(ids)) == figures["requests"] == REQUESTS
    assert figures["policies"]["stream"]["routed"] <= figures["policies"]["hindsight"]["routed"]
    values = [figures["policies"][p]["value"] for p in ("greedy", "hindsight")]
    assert values[0] < values[1] <= figures["policies"]["hindsight"]["bound"] * (1 + 1e-9)
    assert (tmp_path / "out/demo/report.html").stat().st_size > 10_000
    assert done.stderr == ""


def test_the_screen_says_what_a_person_asks(tmp_path: Path) -> None:
    """Routes/s, latency, gap, decisions by status and provider, and where the report lies."""
    done = demo("--requests", "500", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    for word in ("routes/s", "p99", "gap to optimal", "provisioning", "at akash", "report.html"):
        assert word in done.stdout
    assert "starting the embedded broker" in done.stderr


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    """It fails before anything starts, and says what to do."""
    (tmp_path / "file").touch()
    done = demo("--requests", "10", "--out", "file/out", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("aurora: file/out cannot be made")
