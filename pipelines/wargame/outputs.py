"""The files of a run: CSV, charts, and one page to look at."""

from collections.abc import Mapping
from pathlib import Path

from aurora_batch.adapters.outputs import replacing
from aurora_batch.errors import LogError
from pipelines.wargame import page, tables
from pipelines.wargame.account import Run
from pipelines.wargame.slo import cost_table, slo_table


def make_folder(path: Path) -> None:
    """Make the folder of the outputs; raises `LogError` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{path} cannot be made: {error.strerror}") from error


def write(run: Run, images: Mapping[str, bytes], out: Path) -> int:
    """Write everything into a folder that exists; return the number of files."""
    sheets = {
        "step_metrics.csv": tables.step_metrics(run),
        "routing_decisions.csv": tables.routing_decisions(run),
        "provider_metrics_over_time.csv": tables.provider_metrics(run),
        "event_costs.csv": cost_table(run.costs),
        "provider_slos.csv": slo_table(run),
    }
    for name, sheet in sheets.items():
        tables.write(sheet, out / name)
    for name, image in images.items():
        with replacing(out / name) as partial:
            partial.write_bytes(image)
    with replacing(out / "report.html") as partial:
        partial.write_text(page.html(run, images), encoding="utf-8")
    return len(sheets) + len(images) + 1
