"""What the stream's benchmark makes of its measurements."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.stream import __main__ as command
from benchmarks.stream import table
from benchmarks.stream.cells import BY_NAME, CELLS, Found, Latency, Throughput
from benchmarks.stream.latency import joined, quantile

NAN = float("nan")


def throughput(cell: str, per_s: float) -> Throughput:
    """Return a figure."""
    return Throughput(cell, per_s, 10.0, 3.0, NAN, 100, 100)


def point(rate: float, p99: float, *, sustained: bool = True) -> Latency:
    """Return a point of a sweep."""
    return Latency("latency-20", rate, rate, 1.0, 10.0, 20.0, p99, 90.0, 2.0, 100, sustained)


def test_ratios_are_those_within_a_round() -> None:
    """The median of the rounds' ratios, with the least and the largest."""
    rounds = [(100.0, 50.0), (300.0, 100.0), (80.0, 20.0)]
    found = Found([[throughput("json", a), throughput("aiokafka", b)] for a, b in rounds])

    said = table.ratios(found)

    assert said["worker / aiokafka, record by record"] == (3.0, 2.0, 4.0)
    assert "worker / Quix Streams" not in said  # which did not run


def test_latencies_are_medians_by_rate() -> None:
    """A rate that one round could not keep up with is not kept up with."""
    found = Found([], [[point(1e3, 30.0), point(1e4, 50.0)] for _ in range(2)])
    found.latency.append([point(1e3, 90.0), point(1e4, 60.0, sustained=False)])

    first, second = table.latencies(found)

    assert (first.p99, first.sustained) == (30.0, True)
    assert (second.p99, second.sustained) == (50.0, False)


def test_latency_is_drawn(tmp_path: Path) -> None:
    """A picture, in a folder that is made for it."""
    path = tmp_path / "new" / "latency.png"

    table.draw(Found([], [[point(1e3, 30.0), point(1e4, 50.0)]]), path)

    assert path.read_bytes().startswith(b"\x89PNG")


def test_times_are_from_sending_to_first_receipt(tmp_path: Path) -> None:
    """By the request's number; what is received twice counts once, the warm-up not at all."""
    path = tmp_path / "received.npz"
    ms = 1_000_000
    sent = np.array([0, 10, 20, 30]) * ms
    np.savez(path, number=np.array([3, 1, 0, 3]), at=np.array([37, 15, 9, 99]) * ms)

    assert joined(sent, path, warm=1).tolist() == [5.0, 7.0]


def test_quantile_of_a_histogram() -> None:
    """Of what was added between two looks, linear within its bucket."""
    before = {0.001: 10.0, 0.002: 10.0, math.inf: 10.0}
    after = {0.001: 10.0, 0.002: 110.0, math.inf: 110.0}

    assert quantile(before, after, 0.5) == pytest.approx(0.0015)
    assert math.isnan(quantile(after, after, 0.5))


def test_names_are_unique_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` has a line for each cell."""
    assert command.main(["--list"]) == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(BY_NAME)
    assert len(BY_NAME) == len(CELLS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "xml"], "no cell 'xml'; there are json"),
        (["--seconds", "0"], "0: expected a number > 0"),
        (["--rates", "10,x"], "--rates"),
        (["--rounds", "0"], "0: expected a number > 0"),
    ],
)
def test_what_cannot_be_measured_is_said(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a broker is started."""
    with pytest.raises(SystemExit):
        command.main(options)

    assert said in capsys.readouterr().err


def test_raw_results_are_kept_and_figures_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a later cell fails, which is one line."""

    def measure(args: object, cells: object, place: object, found: Found, say: object) -> None:
        found.throughput.append([throughput("json", 100.0)])
        raise command.Failed("the worker is gone")

    monkeypatch.setattr(command, "_measure", measure)

    assert command.main(["--kafka", "localhost:1", "--out", str(tmp_path), "--quiet"]) == 1

    captured = capsys.readouterr()
    assert captured.err == "error: the worker is gone\n"
    assert "JSON, exactly once" in captured.out
    (raw,) = tmp_path.glob("stream-*/stream.json")
    (one,) = json.loads(raw.read_text())["throughput"][0]
    assert (one["per_s"], one["broker_cpu"]) == (100.0, None)
