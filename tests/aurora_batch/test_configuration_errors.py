"""What is wrong with settings is said in a line, and secrets are never shown."""

from pathlib import Path

import pytest

from aurora_batch.configuration import (
    Credentials,
    kafka_credentials,
    load_settings,
)
from aurora_batch.errors import SettingsError, UsageError
from aurora_batch.settings import KafkaSettings, Settings
from tests.aurora_batch.loading import PROVIDER, load

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
