"""Settings from flags, environment, files and built-in defaults, in this order (spec, section 6).

    --set router.weights.price=0.6          wins over
    AURORA_ROUTER__WEIGHTS__PRICE=0.6       wins over
    config/router.yaml                      wins over
    the defaults in `settings` and `facts`

A file that is absent or empty equals the defaults. A section of a file merges with the defaults
beneath it, key by key; `providers:`, `tenants:` and `workloads:` replace the built-in ones whole.
The built-in tenants ask for the built-in workloads, so a file that says only `workloads:` has no
tenants.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aurora_batch.errors import SettingsError, UsageError
from aurora_batch.settings import KafkaSettings, ProviderSettings, Settings
from aurora_batch.settings_layers import FLAG, Layers, Said, nearest, unknown_key
from aurora_batch.settings_types import show
from aurora_batch.strict_yaml import parse_value, read_document

DEFAULT_DIR = Path("config")
FILES = {
    "router": ("router", "replay", "kafka"),
    "providers": ("providers",),
    "workloads": ("tenants", "workloads"),
}
SUFFIXES = (".yaml", ".yml", ".json")
PREFIX = "AURORA_"
USERNAME, PASSWORD = "AURORA_KAFKA_USERNAME", "AURORA_KAFKA_PASSWORD"
# Variables that are no settings: options of commands, and secrets.
OTHER_VARIABLES = frozenset({"AURORA_KAFKA", USERNAME, PASSWORD})


@dataclass(frozen=True)
class Loaded:
    """Effective settings, and where each leaf came from.

    `origins` maps dotted keys (`router.weights.price`) to "default", a file (`config/router.yaml`),
    a variable (`AURORA_ROUTER__WEIGHTS__PRICE`) or a flag (`--set`).
    """

    settings: Settings
    origins: dict[str, str]


@dataclass(frozen=True)
class Credentials:
    """User and password of a broker; never part of settings, nor of a `repr`."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def load_settings(
    config_dir: Path | None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str],
    providers_file: Path | None = None,
) -> Loaded:
    """Return the effective settings.

    Parameters
    ----------
    config_dir
        Folder of the three files; must exist. None means `config/` if there is one, else defaults.
    overrides
        `KEY=VALUE` of each `--set`, VALUE in YAML.
    environ
        The environment; names without `AURORA_` are ignored.
    providers_file
        Instead of the folder's `providers.yaml`.

    Raises
    ------
    SettingsError
        Names source, key, value and expectation of the first thing that is wrong.
    UsageError
        No such folder, or a flag that is no `KEY=VALUE`.
    """
    layers = Layers()
    files = dict(_files(config_dir))
    if providers_file is not None:
        files["providers"] = providers_file
    for stem, path in files.items():
        _lay_file(layers, path, FILES[stem])
    strangers = _lay_environ(layers, environ)
    for text in overrides:
        _lay_flag(layers, text)
    settings, origins = layers.build()
    _check_strangers(strangers, settings, origins)
    return Loaded(settings, origins)


def providers_only(path: Path) -> dict[str, ProviderSettings]:
    """Return the providers of one `providers.yaml`, without regard to the environment.

    Raises `SettingsError` where the file is wrong or absent.
    """
    layers = Layers()
    _lay_file(layers, path, FILES["providers"])
    return layers.build()[0].providers


def kafka_credentials(kafka: KafkaSettings, environ: Mapping[str, str]) -> Credentials | None:
    """Return user and password from the environment; None where `kafka` needs none.

    Raises `UsageError` where a mechanism is configured and a variable is not set.
    """
    if kafka.sasl_mechanism is None:
        return None
    for name in (USERNAME, PASSWORD):
        if not environ.get(name):
            raise UsageError(f"{name} is not set; kafka.sasl_mechanism needs it")
    return Credentials(environ[USERNAME], environ[PASSWORD])


def _files(config_dir: Path | None) -> Iterable[tuple[str, Path]]:
    """Yield (stem, path) of the files that exist."""
    folder = DEFAULT_DIR if config_dir is None else config_dir
    if not folder.is_dir():
        if config_dir is None:
            return
        problem = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"--config {folder}: {problem}; expected a folder with {_names()}")
    present = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    for path in present:
        near = nearest(path.stem, FILES)
        if path.stem not in FILES and near is not None:
            raise SettingsError(str(path), "the name", path.stem, f"{near}, or none like it")
    for stem in FILES:
        match [p for p in present if p.stem == stem]:
            case [path]:
                yield stem, path
            case [path, other, *_]:
                raise SettingsError(str(path), "the file", f"beside {other.name}", "one of the two")


def _names() -> str:
    return ", ".join(f"{stem}.yaml" for stem in FILES)


def _lay(layers: Layers, path: Sequence[str], said: Said, *, fold: bool = False) -> None:
    """Say a key; a `mode` takes back the policies that lower layers said, which would hide it."""
    mode = said.value if tuple(path) == ("router", "mode") else None
    if tuple(path) == ("router",) and isinstance(said.value, dict):
        mode = said.value.get("mode")
    if mode is not None:
        layers.put(("router", "policy"), Said(None, said.source))
    layers.put(path, said, fold=fold)


def _lay_file(layers: Layers, path: Path, sections: Sequence[str]) -> None:
    source = str(path)
    document = read_document(path, source)
    if document is None:
        return
    if not isinstance(document, dict):
        expected = f"a mapping with {' or '.join(f'{s}:' for s in sections)}"
        raise SettingsError(source, "the file", show(document), expected)
    for name, value in document.items():
        said = Said(value, source)
        home = next((f for f, inside in FILES.items() if name in inside), None)
        if name not in sections and home is not None:
            raise SettingsError(source, name, show(value), f"this section in {home}.yaml")
        if name not in sections:
            raise unknown_key(said, (name,), name, sections)
        _lay(layers, (name,), said)
    if document.get("workloads") is not None and "tenants" not in document:
        layers.put(("tenants",), Said({}, source))


def _lay_environ(layers: Layers, environ: Mapping[str, str]) -> list[str]:
    """Lay the variables that name a section; return the other `AURORA_` ones."""
    strangers = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        if path[0] in Settings.__struct_fields__:
            _lay(layers, path, Said(parse_value(environ[name]), name, loose=True), fold=True)
        else:
            strangers.append(name)
    return strangers


def _check_strangers(names: Sequence[str], settings: Settings, origins: Iterable[str]) -> None:
    """Raise for the first variable that is neither a setting nor named by one as a secret."""
    secrets = {p.credentials_secret for p in settings.providers.values()}
    for name in names:
        if name not in secrets:
            known = {PREFIX + key.upper().replace(".", "__").replace("-", "_") for key in origins}
            near = nearest(name, sorted(known | OTHER_VARIABLES))
            meant = "AURORA_SECTION__KEY" if near is None else f"did you mean {near}?"
            # The value stays unsaid: a misspelt AURORA_KAFKA_PASSWORD is still a password.
            raise SettingsError("environment", name, "unknown", f"a known variable: {meant}")


def _lay_flag(layers: Layers, text: str) -> None:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"{FLAG} {show(text)}: expected KEY=VALUE, such as router.policy=greedy")
    _lay(layers, key.split("."), Said(parse_value(value), f"{FLAG} {key}", loose=True))
