"""`aurora import`: public traces as request logs, by a recipe that is written down here.

No public log states the prices, latencies and reputations that a request would accept, nor regions.
Each trace says when, how much and on what:

    azure-llm   requested_at   TIMESTAMP
                gpu_hours      context tokens / 5,000 a second + generated tokens / 50 a second
                gpu_type       by context tokens: from 3,000 a100|h100, from 1,000 4090|a100,
                               below 3080|3090|4090
                workload_type  llm_inference
    openb       requested_at   creation_time, seconds from 1 January 2026; pods without GPU left out
                gpu_hours      num_gpu x gpu_milli / 1000 x (deletion_time - scheduled_time, or
                               - creation_time where it never was); 0.001 to 24
                gpu_type       gpu_spec, models by rank: T4, P100 3080; A10, V100M16 3090;
                               V100M32, G1 4090; G2 a100; G3 h100; none said: any that is sold
                workload_type  llm_training with 2 GPUs or more, else general
                priority       qos: Guaranteed 3, LS 2, Burstable 1, BE 0.5

The seed adds a region (40 % anywhere, else one where an accepted GPU is sold), limits (around one
offer that could serve the request, so that it is feasible: `workload.limits_around`) and a tenant
(one of 40, the k-th in proportion to 1/k).

GPU-hours keep their proportions, cut at ten times their mean, and are scaled so that the window of
an average request asks for `load` x the fleet's capacity. Time runs `speedup` times as fast (openb
spans five months), and a silence longer than a window is cut to one.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch import workload
from aurora_batch.adapters.outputs import RequestWriter
from aurora_batch.errors import LogError, UsageError
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.model import ANY_OF, normalize_gpus
from pipelines import cli_options

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

TENANTS = 40
ANYWHERE_SHARE = 0.4
MAX_OF_MEAN = 10.0
RECIPE = workload.Recipe()

_AZURE_GPUS = ((3000, "a100|h100"), (1000, "4090|a100"), (0, "3080|3090|4090"))
PREFILL_TOKENS_S, DECODE_TOKENS_S = 5_000.0, 50.0
_AZURE_TIME = r"^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?)"

_OPENB_GPUS = {
    "T4": "3080", "P100": "3080", "A10": "3090", "V100M16": "3090", "V100M32": "4090",
    "G1": "4090", "G2": "a100", "G3": "h100",
}  # fmt: skip
_OPENB_PRIORITY = {"Guaranteed": 3.0, "LS": 2.0, "Burstable": 1.0, "BE": 0.5}
OPENB_HOURS = (0.001, 24.0)

# Columns of what a trace says: `at` (us since the epoch), `hours` (GPU-hours up to a common
# factor), `gpu` (canonical; null: any), `workload`, `priority`.
Rows = pl.DataFrame


def azure_llm(path: Path) -> Rows:
    """Read a trace of the Azure Public Dataset: TIMESTAMP, ContextTokens, GeneratedTokens."""
    trace = _read(path, ("TIMESTAMP",), ("ContextTokens", "GeneratedTokens"))
    context, generated = pl.col("ContextTokens"), pl.col("GeneratedTokens")
    by_size = [pl.when(context >= least).then(pl.lit(gpus)) for least, gpus in _AZURE_GPUS]
    moment = pl.col("TIMESTAMP").str.replace(_AZURE_TIME + ".*", "$1 $2")
    return trace.select(
        at=moment.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
        .dt.epoch("us"),
        hours=(context / PREFILL_TOKENS_S + generated / DECODE_TOKENS_S) / 3600,
        gpu=pl.coalesce(*by_size),
        workload=pl.lit("llm_inference"),
        priority=pl.lit(1.0),
    )  # fmt: skip


def openb(path: Path) -> Rows:
    """Read a pod list of Alibaba's cluster-trace-gpu-v2023; creation_time counts seconds."""
    times = ("creation_time", "scheduled_time", "deletion_time")
    trace = _read(path, ("gpu_spec", "qos"), ("num_gpu", "gpu_milli", *times))
    begun = pl.coalesce("scheduled_time", "creation_time")
    gpus = pl.col("num_gpu") * pl.col("gpu_milli") / 1000
    hours = gpus * (pl.col("deletion_time") - begun) / 3600
    specs = trace["gpu_spec"].unique().drop_nulls().to_list()
    priority = pl.col("qos").replace_strict(_OPENB_PRIORITY, default=1.0, return_dtype=pl.Float64)
    return trace.filter(pl.col("num_gpu") > 0).select(
        at=pl.lit(int(workload.START.timestamp() * 1e6))
        + (pl.col("creation_time") * 1e6).cast(pl.Int64),
        hours=hours.clip(*OPENB_HOURS),
        gpu=pl.col("gpu_spec").replace_strict(
            {s: _openb_gpus(s) for s in specs}, default=None, return_dtype=pl.String
        ),
        workload=pl.when(pl.col("num_gpu") > 1)
        .then(pl.lit("llm_training"))
        .otherwise(pl.lit("general")),
        priority=priority,
    )


def _openb_gpus(spec: str) -> str:
    return normalize_gpus(ANY_OF.join(_OPENB_GPUS.get(m, m) for m in spec.split(ANY_OF) if m))


@dataclass(frozen=True)
class Trace:
    """One kind of trace that can be imported."""

    read: Callable[[Path], Rows]
    speedup: float
    columns: str


TRACES = {
    "azure-llm": Trace(azure_llm, 1.0, "TIMESTAMP, ContextTokens, GeneratedTokens"),
    "openb": Trace(openb, 2_000.0, "num_gpu, gpu_milli, gpu_spec, qos, creation_time, ..."),
}


def _read(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> pl.DataFrame:
    try:
        trace = pl.read_csv(path, infer_schema=False, columns=[*texts, *numbers])
    except FileNotFoundError:
        raise LogError(f"{path}: no such file; check the path") from None
    except pl.exceptions.ColumnNotFoundError:
        wanted = ", ".join([*texts, *numbers])
        raise LogError(f"{path} is no such trace: expected the columns {wanted}") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LogError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return trace.with_columns(pl.col(*numbers).cast(pl.Float64, strict=False))


def request_log(
    rows: Rows, fleet: Fleet, *, seed: int, load: float, speedup: float, window_s: float
) -> pa.Table:
    """Return what a trace says as a log (`schema.REQUEST_SCHEMA`), by event time; see above."""
    rng = np.random.default_rng(seed)
    rows = rows.filter(pl.col("at").is_not_null() & (pl.col("hours") > 0)).sort(
        "at", maintain_order=True
    )
    gpu = rows["gpu"].fill_null(ANY_OF.join(sorted(fleet.gpu_types)))
    at = _busy(rows["at"].to_numpy(), speedup, round(window_s * 1e6))
    windows = at // round(window_s * 1e6)
    offer, sold = _offers(fleet, gpu, rng)
    tenants = 1 / np.arange(1, TENANTS + 1)
    tenant = rng.choice(TENANTS, rows.height, p=tenants / tenants.sum())
    limits = workload.limits_around(fleet, offer, rng, RECIPE)
    return workload.table(
        at,
        tenant_id=workload.words([f"tenant-{i:02d}" for i in range(TENANTS)], tenant),
        workload_type=rows["workload"].to_arrow().cast(pa.string()),
        gpu_type=gpu.to_arrow().cast(pa.string()),
        region=workload.regions_of(
            fleet, offer, (rng.random(rows.height) < ANYWHERE_SHARE) | ~sold, rng
        ),
        gpu_hours=pa.array(
            _scaled(rows["hours"].to_numpy(), windows, load * fleet.pool_capacity.sum())
        ),
        priority=rows["priority"].to_arrow(),
        **{name: pc.if_else(pa.array(sold), limit, None) for name, limit in limits.items()},
    )


def _busy(at_us: I64, speedup: float, window_us: int) -> I64:
    """Return event times, `speedup` times as fast and without silences longer than a window."""
    if not at_us.size:
        return at_us
    gaps = np.minimum(np.diff(at_us) / speedup, window_us).astype(np.int64)
    return np.concatenate([at_us[:1], at_us[0] + np.cumsum(gaps)])


def _scaled(hours: F64, window: I64, demand: float) -> F64:
    """Return `hours`, cut and scaled so that the average request's window asks for `demand`."""
    if not hours.size:
        return hours
    cut = np.minimum(hours, MAX_OF_MEAN * hours.mean())
    _, of, count = np.unique(window, return_inverse=True, return_counts=True)
    asked = np.bincount(of, weights=cut)
    return np.asarray(cut * (demand * hours.size / (asked * count).sum()))


def _offers(
    fleet: Fleet, gpu: pl.Series, rng: np.random.Generator
) -> tuple[I64, NDArray[np.bool_]]:
    """Draw for each request an offer that sells a GPU it accepts; False where nobody does."""
    offer, sold = np.zeros(len(gpu), np.int64), np.zeros(len(gpu), np.bool_)
    for gpus in gpu.unique().sort():
        selling = np.flatnonzero(fleet.gpu_match(gpus))
        at = np.flatnonzero((gpu == gpus).to_numpy())
        if selling.size:
            offer[at], sold[at] = rng.choice(selling, at.size), True
    return offer, sold


def register(subparsers: Any) -> None:
    """Add `aurora import`."""
    parser = subparsers.add_parser(
        "import",
        help="turn a public trace into a request log",
        description=(__doc__ or "").partition("\n\n")[2],
        epilog="example:\n  aurora import openb openb_pod_list_gpuspec33.csv --out log.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "trace",
        choices=TRACES,
        help="; ".join(f"{n}: CSV with {t.columns}" for n, t in TRACES.items()),
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the trace as it was published")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the request log: .parquet, .ndjson, .csv, .arrow",
    )
    parser.add_argument("--seed", type=int, default=42, help="of what the trace does not say (42)")
    parser.add_argument(
        "--load", type=float, default=1.2, help="demand over the fleet's capacity (1.2: scarce)"
    )
    parser.add_argument(
        "--speedup",
        type=float,
        help="trace seconds in a second of the log (azure-llm 1, openb 2000)",
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Import one trace."""
    _positive("--load", args.load)
    settings = cli_options.load(args).settings
    fleet = fleet_from_settings(settings.providers)
    if not fleet.offers:
        raise UsageError("the fleet sells nothing, so no request can be made to fit it")
    trace = TRACES[args.trace]
    speedup = _positive("--speedup", trace.speedup if args.speedup is None else args.speedup)
    with RequestWriter(args.out) as out:
        rows = trace.read(args.file)
        log = request_log(
            rows,
            fleet,
            seed=args.seed,
            load=args.load,
            speedup=speedup,
            window_s=settings.router.window_s,
        )
        out.write(log)
    figures = {"rows": rows.height, "requests": log.num_rows, "out": str(args.out)}
    if args.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    elif not args.quiet:
        of = f"{rows.height:,} rows of {args.trace}"
        sys.stdout.write(f"{log.num_rows:,} requests from {of} in {args.out}\n")
    return 0


def _positive(option: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise UsageError(f"{option} is {value:g}; expected a number above 0")
    return value
