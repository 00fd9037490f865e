"""`aurora stream` as a process: stop, reload, health, and errors of one line."""

import json
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.streaming import (
    StreamProcess,
    decisions_of,
    request,
    run,
    send,
    settings_for,
    stream_process,
    until,
)


def fetched(port: int, path: str) -> str:
    """Body of a page of the metrics port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


async def port_of(process: StreamProcess) -> int:
    """Port that the process says it serves metrics at."""
    line = await process.line_with("metrics at")
    return int(json.loads(line)["message"].removesuffix("/metrics").rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_everything_committed(
    embedded: str, tmp_path: Path, number: int
) -> None:
    """SIGTERM and Ctrl-C: exit 0, and after a restart nothing is lost or doubled."""

    async def go() -> None:
        settings = settings_for(embedded, batch=50)
        await send(settings, map(request, range(2000)))
        async with stream_process(settings, tmp_path) as process:
            await process.line_with("begins at")

            async def begun() -> bool:
                return bool(await decisions_of(settings))

            await until(begun)
            process.signal(number)
            assert await process.ended() == 0, process.output
            assert "stopped: " in process.output
        async with stream_process(settings, tmp_path, "--until-end", "--quiet") as process:
            assert await process.ended() == 0
            assert process.output == ""

        ids = [d["request_id"] for d in await decisions_of(settings)]
        assert sorted(ids) == sorted(f"r{i}" for i in range(2000))

    run(go())


def test_providers_are_reloaded_while_it_runs(embedded: str, tmp_path: Path) -> None:
    """A changed file takes effect between batches; a bad one leaves the old, and says so."""

    async def go() -> None:
        settings = settings_for(embedded)
        async with stream_process(settings, tmp_path) as process:
            await process.line_with("begins at")
            providers = json.loads(process.providers.read_text())
            kept = {"providers": {"vast": providers["providers"]["vast"]}}
            process.providers.write_text(json.dumps(kept))
            await process.line_with("providers reloaded: 2 offers")
            process.providers.write_text('{"providers": {"vast": {"reputation": 101}}}')
            line = json.loads(await process.line_with("providers not reloaded"))
            assert line["level"] == "error"
            assert "providers.json" in line["message"]
            await send(settings, [request(i, gpu_type="a100") for i in range(9)])

            async def decided() -> bool:
                return len(await decisions_of(settings)) == 9

            await until(decided)
            process.signal(signal.SIGHUP)
            await process.line_with("providers not reloaded")
        assert {d["provider"] for d in await decisions_of(settings)} == {"vast"}

    run(go())


def test_metrics_and_health_are_served(embedded: str, tmp_path: Path) -> None:
    """`/health` says live, ready, age of the last batch and lag; `/metrics` what was decided."""

    async def go() -> None:
        settings = settings_for(embedded)
        await send(settings, map(request, range(100)))
        async with stream_process(settings, tmp_path, "--metrics-port", "0") as process:
            port = await port_of(process)
            await process.line_with("begins at")
            health: dict[str, Any] = {}

            async def caught_up() -> bool:
                health.update(json.loads(fetched(port, "/health")))
                page = fetched(port, "/metrics")
                done = "aurora_requests_decided_total 100.0" in page
                return done and "aurora_requests_in_flight 0.0" in page and health["lag"] == 0

            await until(caught_up)
            assert (health["live"], health["ready"], health["shard"]) == (True, True, "0/1")
            assert health["last_batch_age_s"] >= 0
            page = fetched(port, "/metrics")
            assert 'aurora_route_requests_total{provider="' in page
            assert 'aurora_provider_capacity{provider="akash"} 220.0' in page

    run(go())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--shard", "2/2"), 2, "--shard 2/2: expected I/N with 0 <= I < N"),
        (("--shard", "half"), 2, "--shard half: expected I/N"),
        (("--kafka", "nowhere"), 2, "expected HOST:PORT"),
        (("--kafka", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1; start one or pass"),
        (("--set", "kafka.topics.requests=nothing"), 1, "topic nothing does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(
    embedded: str, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Used wrongly is 2, a broker that is away or lacks a topic 1; a line, no traceback."""

    async def go() -> None:
        async with stream_process(
            settings_for(embedded), tmp_path, *arguments, "--quiet"
        ) as process:
            assert await process.ended() == code
        (line,) = process.output.splitlines()
        assert said in line

    run(go())


def test_a_taken_port_is_one_line(embedded: str, tmp_path: Path) -> None:
    """Metrics on a port that something else has: exit 1, and what to do."""

    async def go() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            arguments = ("--metrics-port", port, "--quiet")
            async with stream_process(settings_for(embedded), tmp_path, *arguments) as process:
                assert await process.ended() == 1
        (line,) = process.output.splitlines()
        assert f"127.0.0.1:{port}: Address already in use; choose another --metrics-port" in line

    run(go())
