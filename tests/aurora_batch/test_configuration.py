"""Loading: files, variables and flags, and which of them wins."""

import subprocess
import sys
from pathlib import Path

import pytest

from aurora_batch.configuration import (
    load_settings,
    providers_only,
)
from aurora_batch.model import Policy, Scoring
from aurora_batch.settings import ProviderSettings, Settings
from aurora_batch.settings_layers import leaves
from aurora_batch.settings_types import to_plain
from tests.aurora_batch.loading import PROVIDER, load

ROOT = Path(__file__).parents[2]

FULL_ROUTER = """
router:
  policy: greedy
  mode: hybrid
  ai_rollout_percentage: 25
  scoring: normalized
  defaults: {max_price: 5.0, max_latency_ms: 500, min_reputation: 70}
  weights: {price: 0.1, latency: 0.2, reputation: 0.3, availability: 0.4}
  window_s: 30
  max_clock_skew_s: 10
  alternatives: 0
  batch: {max_requests: 5, max_bytes: 64kB, linger_ms: 0}
  objective: {serve_reward: 2, scale: raw, weigh_by: gpu_hours}
  solver: {deadline_ms: 1, target_gap: 5e-4}
  lookahead: {enabled: no, resolve_every: 20ms, sample: 7}
replay: {chunk_requests: 9}
kafka:
  bootstrap: "a:1,b:2"
  group: g
  topics: {requests: r, decisions: d, dead_letters: x, outcomes: o, ledger: l}
  partitions: 3
  split: gpu_type
  replication: 2
  transactional: off
  request_timeout_ms: 1
  transaction_timeout_ms: 2
  max_in_flight_bytes: 1GiB
  max_message_bytes: 64kB
  fetch_max_wait_ms: 3
  compression: lz4
  security_protocol: SASL_SSL
  sasl_mechanism: SCRAM-SHA-512
  ssl_cafile: ca.pem
"""


def test_no_file_equals_the_defaults(folder: Path) -> None:
    """No folder, an empty folder, empty files and empty sections all mean the defaults."""
    assert load(folder).settings == Settings()
    for stem in ("router", "providers", "workloads"):
        (folder / f"{stem}.yaml").write_text("# nothing\n")
    assert load(folder).settings == Settings()
    (folder / "router.yaml").write_text("router:\n  weights:\nreplay:\nkafka: {topics: {}}\n")
    (folder / "providers.yaml").write_text("providers:\n")
    (folder / "workloads.yaml").write_text("tenants:\nworkloads:\n")

    loaded = load(folder)

    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_default_folder_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--config`, `config/` is read if it is there."""
    monkeypatch.chdir(tmp_path)
    assert load().settings == Settings()
    Path("config").mkdir()
    Path("config/router.yaml").write_text("router: {policy: greedy}")

    assert load().settings.router.policy is Policy.GREEDY


def test_shipped_files_equal_the_defaults_field_by_field() -> None:
    """`config/` says what is built in, so that a person may start from it."""
    loaded = load(ROOT / "config")

    shipped = dict(leaves(to_plain(loaded.settings)))
    for key, value in leaves(to_plain(Settings())):
        assert shipped.pop(key) == value, key
    assert shipped == {}


def test_shipped_router_file_says_every_key() -> None:
    """Each key of the router's sections stands in the file, at least as a comment."""
    text = (ROOT / "config/router.yaml").read_text()

    for key, _ in leaves(to_plain(Settings())):
        if key.startswith(("router.", "replay.", "kafka.")):
            assert f" {key.rpartition('.')[2]}:" in text, key


def test_shipped_example_fleet_loads() -> None:
    """The service fleet of four has four A100 or 4090 markets under plain GPU names."""
    fleet = providers_only(ROOT / "config/examples/service-fleet.yaml")

    assert {name: list(p.base_price_usd_per_hour) for name, p in fleet.items()} == {
        "akash": ["a100", "t4", "a6000"],
        "ionet": ["h100", "a100", "4090"],
        "render": ["4090", "t4"],
        "vastai": ["a100", "a6000", "4090", "t4"],
    }


def test_a_full_file_is_loaded_field_by_field(folder: Path) -> None:
    """No key of a file is lost, and each one's origin is the file."""
    (folder / "router.yaml").write_text(FULL_ROUTER)

    loaded = load(folder)

    router, kafka = loaded.settings.router, loaded.settings.kafka
    assert (router.policy, router.mode, router.scoring) == (
        Policy.GREEDY, "hybrid", Scoring.NORMALIZED,
    )  # fmt: skip
    assert to_plain(router.defaults) == {
        "max_price": 5.0, "max_latency_ms": 500.0, "min_reputation": 70.0,
    }  # fmt: skip
    assert list(to_plain(router.weights).values()) == [0.1, 0.2, 0.3, 0.4]
    assert (router.ai_rollout_percentage, router.window_s, router.max_clock_skew_s) == (25, 30, 10)
    assert router.alternatives == 0
    assert list(to_plain(router.batch).values()) == [5, 64_000, 0.0]
    assert list(to_plain(router.objective).values()) == [2.0, "raw", "gpu_hours"]
    assert list(to_plain(router.solver).values()) == [1.0, 0.0005]
    assert list(to_plain(router.lookahead).values()) == [False, 0.02, 7]
    assert loaded.settings.replay.chunk_requests == 9
    assert list(to_plain(kafka.topics).values()) == ["r", "d", "x", "o", "l"]
    assert (kafka.bootstrap, kafka.group, kafka.partitions, kafka.replication) == (
        "a:1,b:2", "g", 3, 2,
    )  # fmt: skip
    assert (kafka.split, kafka.transactional) == ("gpu_type", "off")
    assert kafka.max_in_flight_bytes == 2**30
    assert kafka.max_message_bytes == 64_000
    assert (kafka.fetch_max_wait_ms, kafka.compression) == (3, "lz4")
    assert (kafka.request_timeout_ms, kafka.transaction_timeout_ms) == (1, 2)
    assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert kafka.ssl_cafile == "ca.pem"
    said = {k for k, v in loaded.origins.items() if v == "config/router.yaml"}
    assert said == {k for k in loaded.origins if k.startswith(("router.", "replay.", "kafka."))}


def test_a_full_provider_is_loaded_field_by_field(folder: Path) -> None:
    """Every key of a provider, with capacity by GPU type and prices by region."""
    (folder / "providers.yaml").write_text(
        "providers:\n  x:\n    name: X\n    enabled: off\n    regions: [eu, us]\n"
        "    base_price_usd_per_hour: {a100: {eu: 1.8, us: 1.9}, 4090: 1}\n"
        "    credits_per_hour: {A100: 1}\n    base_latency_ms: 3\n"
        "    capacity_gpu_hours_per_step: {A100: 2, RTX4090: 0}\n    reputation: 0\n"
        "    api_url: https://api.example/v1\n    credentials_secret: X_KEY\n"
        "    default_region: us\n"
    )

    assert load(folder).settings.providers == {
        "x": ProviderSettings(
            name="X",
            enabled=False,
            regions=["eu", "us"],
            base_price_usd_per_hour={"a100": {"eu": 1.8, "us": 1.9}, "4090": 1.0},
            credits_per_hour={"A100": 1.0},
            base_latency_ms=3.0,
            capacity_gpu_hours_per_step={"A100": 2.0, "RTX4090": 0.0},
            reputation=0.0,
            api_url="https://api.example/v1",
            credentials_secret="X_KEY",
            default_region="us",
        )
    }


def test_flag_beats_environment_beats_file_beats_default(folder: Path) -> None:
    """The documented precedence, one key at each level."""
    (folder / "router.yaml").write_text(
        "router: {weights: {price: 0.1, latency: 0.1, reputation: 0.1}}"
    )

    loaded = load(
        folder,
        "router.weights.price=0.3",
        AURORA_ROUTER__WEIGHTS__PRICE="0.2",
        AURORA_ROUTER__WEIGHTS__LATENCY="0.2",
    )

    assert list(to_plain(loaded.settings.router.weights).values()) == [0.3, 0.2, 0.1, 0.15]
    assert {k: v for k, v in loaded.origins.items() if ".weights." in k and "router" in k} == {
        "router.weights.price": "--set",
        "router.weights.latency": "AURORA_ROUTER__WEIGHTS__LATENCY",
        "router.weights.reputation": "config/router.yaml",
        "router.weights.availability": "default",
    }


def test_origins_cover_exactly_the_leaves() -> None:
    """Every leaf of the effective settings has an origin, and nothing else has."""
    loaded = load(ROOT / "config", "providers.akash.capacity_gpu_hours_per_step.a100=5")

    assert set(loaded.origins) == {key for key, _ in leaves(to_plain(loaded.settings))}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("router.batch.max_requests=100", "router.batch.max_requests", 100),
        ("router.batch.max_requests='100'", "router.batch.max_requests", 100),
        ("router.batch.max_bytes=1.5MiB", "router.batch.max_bytes", 1_572_864),
        ("router.lookahead.resolve_every=2m", "router.lookahead.resolve_every", 120.0),
        ("router.lookahead.resolve_every=3", "router.lookahead.resolve_every", 3.0),
        ("router.lookahead.enabled=off", "router.lookahead.enabled", False),
        ("router.defaults={max_price: 2}", "router.defaults.max_price", 2.0),
        ("kafka.group=5", "kafka.group", "5"),
        ("kafka.bootstrap=a:1,b:2", "kafka.bootstrap", "a:1,b:2"),
        ("providers.akash.regions=[eu]", "providers.akash.regions", ["eu"]),
        ("providers.akash={reputation: 5}", "providers.akash.reputation", 5.0),
        ("tenants.tenant-dao.max_latency_ms=null", "tenants.tenant-dao.max_latency_ms", None),
        ("tenants.tenant-dao.mix={general: 1}", "tenants.tenant-dao.mix", {"general": 1.0}),
        ("workloads.mine={gpu_type: 4090}", "workloads.mine.gpu_type", "4090"),
    ],
)  # fmt: skip
def test_flags_are_yaml(override: str, key: str, value: object) -> None:
    """`--set` takes any value that a file could hold, and merges sections as a file does."""
    node = to_plain(load(None, override).settings)
    for name in key.split("."):
        node = node[name]

    assert node == value


def test_variables_find_names_in_spite_of_case_and_dashes() -> None:
    """`AURORA_` names are upper case and have no dashes; settings have."""
    settings = load(
        None,
        AURORA_TENANTS__TENANT_DAO__MIN_REPUTATION="3",
        AURORA_WORKLOADS__3D_RENDERING__GPU_HOURS="[1, 2]",
        AURORA_PROVIDERS__IONET__BASE_PRICE_USD_PER_HOUR__A100="9",
        AURORA_ROUTER__LOOKAHEAD__ENABLED="0",
        HOME="/",
    ).settings

    assert settings.tenants["tenant-dao"].min_reputation == 3
    assert settings.workloads["3d_rendering"].gpu_hours == (1, 2)
    assert settings.providers["ionet"].base_price_usd_per_hour == {"h100": 3.2, "a100": 9.0}
    assert settings.router.lookahead.enabled is False


def test_a_mode_takes_back_policies_said_below(folder: Path) -> None:
    """`mode` in a higher layer is not hidden by `policy` in a lower one, nor the reverse."""
    (folder / "router.yaml").write_text("router: {policy: global}")

    def policy(*overrides: str, **environ: str) -> Policy:
        return load(folder, *overrides, **environ).settings.router.effective_policy

    assert policy(AURORA_ROUTER__MODE="rule-based") is Policy.GREEDY
    assert policy("router={mode: rule-based}") is Policy.GREEDY
    assert policy("router.policy=global", AURORA_ROUTER__MODE="rule-based") is Policy.GLOBAL
    assert policy(AURORA_ROUTER__MODE="rule-based", AURORA_ROUTER__POLICY="global") is Policy.GLOBAL


def test_own_names_replace_the_built_in_ones(folder: Path) -> None:
    """`providers:` and `workloads:` replace the built-in ones; the latter leaves no tenants."""
    (folder / "providers.yaml").write_text(PROVIDER)
    (folder / "workloads.yaml").write_text("workloads: {mine: {gpu_type: t4}}")

    settings = load(folder).settings

    assert list(settings.providers) == ["a"]
    assert list(settings.workloads) == ["mine"]
    assert settings.tenants == {}


def test_own_tenants_use_the_built_in_workloads(folder: Path) -> None:
    """`tenants:` alone leaves the workloads; a tenant needs no key."""
    (folder / "workloads.yaml").write_text("tenants:\n  one:\n  two: {mix: {general: 1}}\n")

    settings = load(folder).settings

    assert list(settings.tenants) == ["one", "two"]
    assert settings.workloads == Settings().workloads


def test_json_files_load_too(folder: Path) -> None:
    """`router.json` stands for `router.yaml`; JSON in a `.yaml` file is YAML."""
    (folder / "router.json").write_text('{\n\t"router": {"policy": "greedy"}}')
    (folder / "workloads.yaml").write_text('{"tenants": {"t": {"weights": {"price": 1e-1}}}}')

    settings = load(folder).settings

    assert settings.router.policy is Policy.GREEDY
    assert settings.tenants["t"].weights.price == 0.1


def test_a_providers_file_stands_for_the_one_of_the_folder(folder: Path) -> None:
    """`--providers FILE` replaces the file, and variables still lie over it."""
    Path("mine.yaml").write_text(PROVIDER)
    environ = {"AURORA_PROVIDERS__A__REPUTATION": "5"}

    loaded = load_settings(folder, environ=environ, providers_file=Path("mine.yaml"))

    assert list(loaded.settings.providers) == ["a"]
    assert loaded.settings.providers["a"].reputation == 5
    assert loaded.origins["providers.a.base_latency_ms"] == "mine.yaml"
    assert providers_only(Path("mine.yaml"))["a"].reputation == 78


def test_the_three_packages_are_ours(tmp_path: Path) -> None:
    """From an empty folder, `kernels` is not the package of that name by somebody else."""
    code = (
        "import pathlib, aurora_batch, kernels, pipelines as p\n"
        "homes = {pathlib.Path(m.__path__[0]).parent for m in (aurora_batch, kernels, p)}\n"
        "assert len(homes) == 1, homes\n"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
