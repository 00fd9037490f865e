"""Loading: precedence, files, errors that name source, key, value and expectation, and secrets."""

import subprocess
import sys
from pathlib import Path

import pytest

from aurora_batch.configuration import (
    Credentials,
    Loaded,
    kafka_credentials,
    load_settings,
    providers_only,
)
from aurora_batch.errors import SettingsError, UsageError
from aurora_batch.model import Policy, Scoring
from aurora_batch.settings import KafkaSettings, ProviderSettings, Settings
from aurora_batch.settings_layers import leaves
from aurora_batch.settings_types import to_plain

ROOT = Path(__file__).parents[2]

PROVIDER = """providers:
  a:
    base_price_usd_per_hour: {a100: 1.8}
    base_latency_ms: 300
    capacity_gpu_hours_per_step: 220
    reputation: 78
"""

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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named `config` in the working directory, so that messages are short."""
    monkeypatch.chdir(tmp_path)
    path = Path("config")
    path.mkdir()
    return path


def load(folder: Path | None = None, *overrides: str, **environ: str) -> Loaded:
    """Load with an environment of these variables only."""
    return load_settings(folder, overrides=overrides, environ=environ)


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


# File (by its stem), its text, and the whole line.
WRONG_FILES = [
    ("router", "router: {weigths: {price: 1}}",
     "router.weigths is {'price': 1}; expected a known key: did you mean weights?"),
    ("router", "routr: 1",
     "routr is 1; expected a known key: did you mean router?"),
    ("router", "router: {solver: {speed: 9}}",
     "router.solver.speed is 9; expected a known key: deadline_ms, target_gap"),
    ("router", "router: {weights: {price: 1.5}}",
     "router.weights.price is 1.5; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: cheap}}",
     "router.weights.price is 'cheap'; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: '0.5'}}",
     "router.weights.price is '0.5'; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: true}}",
     "router.weights.price is true; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: }}",
     "router.weights.price is empty; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: .nan}}",
     "router.weights.price is nan; expected a number from 0 to 1"),
    ("router", "router: {weights: {price: 0, latency: 0, reputation: 0, availability: 0}}",
     "router.weights is {'price': 0.0, 'latency': 0.0, 'reputation': 0.0, 'availability': 0.0}; "
     "expected one weight above 0"),
    ("router", "router: {policy: fastest}",
     "router.policy is 'fastest'; expected one of greedy, global"),
    ("router", "router: {window_s: 0}",
     "router.window_s is 0; expected a number > 0 and <= 31622400"),
    ("router", "router: {batch: {max_requests: 0.5}}",
     "router.batch.max_requests is 0.5; expected a whole number from 1 to 2147483647"),
    ("router", "router: {batch: {max_bytes: 16MX}}",
     "router.batch.max_bytes is '16MX'; expected a size such as 64kB or 16MiB"),
    ("router", "router: {batch: {max_bytes: 0}}",
     "router.batch.max_bytes is 0; expected a size such as 64kB or 16MiB"),
    ("router", "router: {lookahead: {resolve_every: -1s}}",
     "router.lookahead.resolve_every is '-1s'; expected a duration > 0 such as 20ms, 1s or 2m"),
    ("router", "router: {lookahead: {enabled: maybe}}",
     "router.lookahead.enabled is 'maybe'; expected true or false"),
    ("router", "replay: [1]",
     "replay is [1]; expected a mapping with the keys chunk_requests"),
    ("router", "- router",
     "the file is ['router']; expected a mapping with router: or replay: or kafka:"),
    ("router", "providers: {}",
     "providers is {}; expected this section in providers.yaml"),
    ("router", "kafka: {bootstrap: broker}",
     "kafka.bootstrap is 'broker'; expected HOST:PORT, or several with commas between"),
    ("router", "kafka: {topics: {ledger: 'a b'}}",
     "kafka.topics.ledger is 'a b'; expected a topic name of letters, digits, dots, _ and -"),
    ("router", "kafka: {topics: {requests: aurora.ledger}}",
     "kafka.topics.ledger is 'aurora.ledger'; expected another topic than that of requests"),
    ("router", "kafka: {sasl_mechanism: PLAIN}",
     "kafka.sasl_mechanism is 'PLAIN'; expected none, since security_protocol is PLAINTEXT"),
    ("router", f"kafka: {{group: [{'x' * 200}]}}",
     f"kafka.group is ['{'x' * 75}...; expected text"),
    ("providers", PROVIDER.replace("78", "780"),
     "providers.a.reputation is 780; expected a number from 0 to 100"),
    ("providers", PROVIDER.replace("    reputation: 78\n", ""),
     "providers.a.reputation is missing; expected a number from 0 to 100"),
    ("providers", PROVIDER.replace("1.8", "-1"),
     "providers.a.base_price_usd_per_hour.a100 is -1; expected a number > 0 or "
     "a mapping of names to a number > 0"),
    ("providers", PROVIDER.replace("1.8", "{eu: free}"),
     "providers.a.base_price_usd_per_hour.a100.eu is 'free'; expected a number > 0"),
    ("providers", PROVIDER.replace("{a100: 1.8}", "cheap"),
     "providers.a.base_price_usd_per_hour is 'cheap'; expected USD per hour by GPU type, "
     "such as {a100: 1.8} or {a100: {eu-west-1: 1.8}}"),
    ("providers", PROVIDER.replace("{a100: 1.8}", "{}"),
     "providers.a.base_price_usd_per_hour is {}; expected at least one GPU type"),
    ("providers", PROVIDER.replace("1.8", "1.8, h100: "),
     "providers.a.base_price_usd_per_hour.h100 is empty; expected a number > 0 or "
     "a mapping of names to a number > 0"),
    ("providers", PROVIDER.replace("220", ""),
     "providers.a.capacity_gpu_hours_per_step is empty; expected GPU-hours >= 0, "
     "or such by GPU type: {a100: 120}"),
    ("providers", "providers:\n  a:\n",
     "providers.a.base_price_usd_per_hour is missing; expected USD per hour by GPU type, "
     "such as {a100: 1.8} or {a100: {eu-west-1: 1.8}}"),
    ("providers", PROVIDER.replace("220", "{h100: 3}"),
     "providers.a.capacity_gpu_hours_per_step is {'h100': 3.0}; expected a number for each "
     "priced GPU type: a100"),
    ("providers", PROVIDER + "    credits_per_hour: {h100: 3}",
     "providers.a.credits_per_hour.h100 is 3.0; expected one of a100"),
    ("providers", PROVIDER + "    regions: eu",
     "providers.a.regions is 'eu'; expected a list of names such as [eu-west-1, us-west-2]"),
    ("providers", PROVIDER.replace("  a:", "  a/b:"),
     "providers is 'a/b'; expected ids without spaces, / and |"),
    ("providers", "akash: {reputation: 3}",
     "akash is {'reputation': 3}; expected a known key: providers"),
    ("workloads", "workloads: {x: {gpu_hours: [3, 1]}}",
     "workloads.x.gpu_hours is [3.0, 1.0]; expected [low, high] with low <= high"),
    ("workloads", "workloads: {x: {gpu_hours: 3}}",
     "workloads.x.gpu_hours is 3; expected [low, high] in GPU-hours, 0 < low <= high"),
    ("workloads", "tenants: {t: {mix: {general: 0.5}}}",
     "tenants.t.mix is {'general': 0.5}; expected shares that sum to 1"),
    ("workloads", "tenants: {t: {mix: {chess: 1}}}",
     "tenants.t.mix.chess is 1.0; expected one of llm_training, llm_inference, 3d_rendering, "
     "cloud_gaming, general_compute, rendering, general"),
]  # fmt: skip


@pytest.mark.parametrize(("stem", "text", "line"), WRONG_FILES)
def test_a_wrong_file_is_one_line(folder: Path, stem: str, text: str, line: str) -> None:
    """The line names file, dotted key, value and expectation; the exit code is 2."""
    (folder / f"{stem}.yaml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        load(folder)

    assert str(caught.value) == f"config/{stem}.yaml: {line}"
    assert caught.value.exit_code == 2
    assert caught.value.source == f"config/{stem}.yaml"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("AURORA_ROUTER__WEIGHTS__PRICE", "x",
         "AURORA_ROUTER__WEIGHTS__PRICE: router.weights.price is 'x'; "
         "expected a number from 0 to 1"),
        ("AURORA_ROUTER__WEIGHTS__PRIC", "1",
         "AURORA_ROUTER__WEIGHTS__PRIC: router.weights.pric is 1; "
         "expected a known key: did you mean price?"),
        ("AURORA_ROUTER__POLICY__X", "1",
         "AURORA_ROUTER__POLICY__X: router.policy.x is 1; "
         "expected router.policy to be one of greedy, global"),
        ("AURORA_ROUTER", "greedy",
         "AURORA_ROUTER: router is 'greedy'; expected a mapping with the keys policy, mode, "
         "ai_rollout_percentage, scoring, defaults, weights, window_s, max_clock_skew_s, "
         "alternatives, batch, objective, solver, lookahead"),
        ("AURORA_PROVIDERS__AKAHS__REPUTATION", "1",
         "AURORA_PROVIDERS__AKAHS__REPUTATION: providers.akahs.reputation is 1; "
         "expected a known key: did you mean akash?"),
        ("AURORA_ROUTER_POLICY", "greedy",
         "environment: AURORA_ROUTER_POLICY is unknown; "
         "expected a known variable: did you mean AURORA_ROUTER__POLICY?"),
        ("AURORA_KAKFA", "x:1",
         "environment: AURORA_KAKFA is unknown; "
         "expected a known variable: did you mean AURORA_KAFKA?"),
        ("AURORA_QZXJWQZXJW", "1",
         "environment: AURORA_QZXJWQZXJW is unknown; "
         "expected a known variable: AURORA_SECTION__KEY"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_one_line(folder: Path, name: str, value: str, line: str) -> None:
    """The line names the variable, and what was probably meant."""
    with pytest.raises(SettingsError) as caught:
        load(folder, **{name: value})

    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("router.weights.price=2",
         "--set router.weights.price: router.weights.price is 2; expected a number from 0 to 1"),
        ("routr.policy=1",
         "--set routr.policy: routr.policy is 1; expected a known key: did you mean router?"),
        ("router.weights={prize: 1}",
         "--set router.weights: router.weights.prize is 1; "
         "expected a known key: did you mean price?"),
        ("providers.akahs.reputation=1",
         "--set providers.akahs.reputation: providers.akahs.reputation is 1; "
         "expected a known key: did you mean akash?"),
        ("workloads={}",
         "--set workloads: tenants.tenant-research.mix.llm_training is 0.3; "
         "expected none: nothing is configured there"),
        ("router.policy",
         "--set 'router.policy': expected KEY=VALUE, such as router.policy=greedy"),
        ("=1", "--set '=1': expected KEY=VALUE, such as router.policy=greedy"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line(folder: Path, override: str, line: str) -> None:
    """The line names the flag; exit code 2."""
    with pytest.raises(UsageError) as caught:
        load(folder, override)

    assert str(caught.value) == line


def test_a_contradiction_names_who_spoke_last(folder: Path) -> None:
    """Where two layers contradict each other, the error names the upper one."""
    (folder / "router.yaml").write_text("router: {weights: {price: 0, latency: 0, reputation: 0}}")

    with pytest.raises(
        SettingsError, match=r"^AURORA_ROUTER__WEIGHTS__AVAILABILITY: router\.weights "
    ):
        load(folder, AURORA_ROUTER__WEIGHTS__AVAILABILITY="0")


def test_wrong_folders_and_file_names_are_named(folder: Path) -> None:
    """No such folder, a file for a folder, two files for one, a file misspelt."""
    files = "router.yaml, providers.yaml, workloads.yaml"
    with pytest.raises(
        UsageError, match=f"^--config no: does not exist; expected a folder with {files}$"
    ):
        load(Path("no"))
    (folder / "router.yaml").touch()
    with pytest.raises(UsageError, match=r"^--config config/router.yaml: is no folder; "):
        load(folder / "router.yaml")
    (folder / "router.json").touch()
    with pytest.raises(
        SettingsError, match=r"^config/router.json: the file is beside router.yaml; "
    ):
        load(folder)
    (folder / "router.json").rename(folder / "provider.yaml")
    with pytest.raises(
        SettingsError, match=r"^config/provider.yaml: the name is provider; expected providers,"
    ):
        load(folder)
    (folder / "provider.yaml").rename(folder / "prometheus.yml")
    assert load(folder).settings == Settings()


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "environ", "overrides"),
    [
        (f"kafka: {{password: {SECRET}}}", {}, []),
        (f"kafka: {{auth: {{password: {SECRET}}}}}", {}, []),
        (f"kafka: {{bootstrap: 'user:{SECRET}@host:1'}}", {}, []),
        (f"api_key: {SECRET}", {}, []),
        ("", {"AURORA_KAFKA__PASSWORD": SECRET}, []),
        ("", {"AURORA_KAFKA_PASWORD": SECRET}, []),
        ("", {}, [f"kafka.sasl_password={SECRET}"]),
        ("", {}, [f"providers.akash.credentials_secret={SECRET}"]),
        ("", {}, [f"providers.akash.api_url=https://user:{SECRET}@host/"]),
    ],
)
def test_errors_never_repeat_a_secret(
    folder: Path, text: str, environ: dict[str, str], overrides: list[str]
) -> None:
    """What looks like a secret, in the wrong place, is refused without being shown."""
    (folder / "router.yaml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        load(folder, *overrides, **environ)

    assert SECRET not in str(caught.value)


def test_secrets_are_no_settings() -> None:
    """User, password and a provider's own secret are neither settings nor errors."""
    environ = {
        "AURORA_KAFKA": "h:1",
        "AURORA_KAFKA_USERNAME": "user",
        "AURORA_KAFKA_PASSWORD": SECRET,
        "AURORA_AKASH_KEY": SECRET,
    }
    overrides = ["providers.akash.credentials_secret=AURORA_AKASH_KEY"]

    loaded = load_settings(None, overrides=overrides, environ=environ)

    assert SECRET not in repr(loaded)
    assert loaded.settings.providers["akash"].credentials_secret == "AURORA_AKASH_KEY"


def test_credentials_come_from_the_environment_only() -> None:
    """They are asked for where a mechanism is configured, and never shown."""
    environ = {"AURORA_KAFKA_USERNAME": "user", "AURORA_KAFKA_PASSWORD": SECRET}
    sasl = KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="PLAIN")

    assert kafka_credentials(KafkaSettings(), environ) is None
    assert kafka_credentials(sasl, environ) == Credentials("user", SECRET)
    assert SECRET not in repr(kafka_credentials(sasl, environ))
    with pytest.raises(UsageError, match="AURORA_KAFKA_PASSWORD is not set"):
        kafka_credentials(sasl, {"AURORA_KAFKA_USERNAME": "user"})


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
