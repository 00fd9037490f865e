"""`aurora config`: effective settings and where each came from, from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aurora_batch.settings import Settings
from aurora_batch.settings_types import to_plain
from aurora_batch.strict_yaml import parse_value
from pipelines import cli

ROOT = Path(__file__).parents[2]


def test_config_tells_where_each_setting_came_from(tmp_path: Path) -> None:
    """A file, a variable, a flag and a default, each said on its line; run as a process."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/router.yaml").write_text("router: {weights: {latency: 0.1}}")
    aurora = Path(sys.executable).with_name("aurora")

    done = subprocess.run(
        [str(aurora), "config", "--set", "router.window_s=30"],
        cwd=tmp_path,
        env={"AURORA_ROUTER__WEIGHTS__PRICE": "0.6", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "    price: 0.6  # AURORA_ROUTER__WEIGHTS__PRICE",
        "    latency: 0.1  # config/router.yaml",
        "    reputation: 0.2  # default",
        "  window_s: 30  # --set",
        "      a100: 1.8  # default",
    ):
        assert line in done.stdout.splitlines()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    """What `aurora config` prints with no variables set."""
    for name in [name for name in os.environ if name.startswith("AURORA_")]:
        monkeypatch.delenv(name)
    assert cli.main(["config", "--config", str(ROOT / "config"), *args]) == 0
    return capsys.readouterr().out


def test_output_is_yaml_of_the_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both our reader and any YAML reader get the effective settings back."""
    shown = run(capsys, monkeypatch)

    assert parse_value(shown) == to_plain(Settings())
    assert yaml.safe_load(shown) == to_plain(Settings())


def test_awkward_text_survives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that look like numbers or comments, and long lists, stay on one readable line."""
    names = [f"region-{n} # x" for n in range(40)]
    shown = run(
        capsys,
        monkeypatch,
        "--set=workloads.mine={gpu_type: 4090}",
        f"--set=providers.akash.regions={json.dumps(names)}",
        "--set=providers.akash.name='off: ü'",
        "--set=providers.akash.base_price_usd_per_hour={4090: 1}",
        "--set=providers.akash.credits_per_hour={}",
    )

    settings = yaml.safe_load(shown)
    assert settings["workloads"]["mine"]["gpu_type"] == "4090"
    assert settings["providers"]["akash"]["regions"] == names
    assert settings["providers"]["akash"]["name"] == "off: ü"
    assert settings["providers"]["akash"]["base_price_usd_per_hour"] == {"4090": 1}
    assert settings["providers"]["akash"]["credits_per_hour"] == {}
    assert "credits_per_hour: {}  # --set" in shown


def test_json_holds_settings_and_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--json` prints one object for programs."""
    shown = json.loads(run(capsys, monkeypatch, "--json", "--set=router.policy=greedy"))

    assert shown["settings"]["router"]["policy"] == "greedy"
    assert shown["settings"]["providers"] == to_plain(Settings().providers)
    assert shown["origins"]["router.policy"] == "--set"
    assert shown["origins"]["router.window_s"].endswith("config/router.yaml")


def test_secrets_are_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment may hold secrets; the output names the variable at most."""
    monkeypatch.setenv("AURORA_KAFKA_PASSWORD", "hunter2")
    monkeypatch.setenv("AURORA_KAFKA_USERNAME", "somebody")
    monkeypatch.setenv("AKASH_API_KEY", "hunter2")

    for form in ([], ["--json"]):
        args = ["config", "--set", "providers.akash.credentials_secret=AKASH_API_KEY", *form]
        assert cli.main(args) == 0
        shown = capsys.readouterr()
        assert "hunter2" not in shown.out + shown.err
        assert "somebody" not in shown.out + shown.err
        assert "AKASH_API_KEY" in shown.out
