"""YAML and JSON as plain values, strictly: what a person meant, or one line that says where not.

Built on PyYAML's event stream rather than on `yaml.safe_load`, for what settings need:

* a key said twice is an error, not a silent loss of the first;
* keys are text as written (`4090:` is the GPU "4090", `no:` a region), and plain words stay text
  (`off` is a word that some settings know), so only `true` and `false` are booleans;
* `5e-4` is a number, as in JSON;
* aliases and nesting are bounded, so that a small file cannot become a large one.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from aurora_batch.errors import SettingsError

MAX_BYTES = 4 * 2**20
MAX_VALUES = 500_000  # values of a file, each alias counted as what it stands for
MAX_DEPTH = 32

_JSON_BOUNDS = f"JSON of at most {MAX_DEPTH} levels, with numbers of ordinary size"

# The C parser is about ten times as fast; some builds of PyYAML lack it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9][0-9_]{0,400}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)(e[-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE
)


def read_document(path: Path, source: str) -> object:
    """Return the value of a YAML file, or of a JSON file by its `.json`; None where it is empty.

    Raises
    ------
    SettingsError
        The file cannot be read, is too large, is no YAML, or says a key twice. `source` names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"unreadable ({error.strerror})"
        raise SettingsError(source, "the file", problem, "a readable YAML file") from error
    if len(data) > MAX_BYTES:
        expected = f"at most {MAX_BYTES // 2**20} MiB"
        raise SettingsError(source, "the file", "too large", expected)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(source, f"line {line}", "not UTF-8", "text in UTF-8") from error
    return _read_json(text, source) if path.suffix == ".json" else _read_yaml(text, source)


def parse_value(text: str) -> object:
    """Return what `text` means as a YAML value, else the text itself.

    >>> [parse_value(t) for t in ("0.6", "5e-4", "off", "[a, b]", "[", "")]
    [0.6, 0.0005, 'off', ['a', 'b'], '[', None]
    """
    try:
        return _Reader(text, "").document()
    except (SettingsError, yaml.YAMLError):
        return text


def _read_yaml(text: str, source: str) -> object:
    try:
        return _Reader(text, source).document()
    except yaml.YAMLError as error:
        where, problem = "the file", getattr(error, "reason", "")
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            mark = error.problem_mark
            where, problem = f"line {mark.line + 1}, column {mark.column + 1}", error.problem
        raise SettingsError(source, where, f"not YAML ({problem})", "YAML or JSON") from error


def _read_json(text: str, source: str) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, value in pairs:
            if key in values:
                raise SettingsError(source, key, "said twice", "each key once")
            values[key] = value
        return values

    if not text.strip():
        return None
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SettingsError(source, where, f"not JSON ({error.msg})", "JSON") from error
    except (RecursionError, ValueError) as error:  # a thousand levels; a number of 5,000 digits
        raise SettingsError(source, "the file", "out of bounds", _JSON_BOUNDS) from error
    if not _is_shallow(value, MAX_DEPTH):
        raise SettingsError(source, "the file", "out of bounds", _JSON_BOUNDS)
    return value


def _is_shallow(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_shallow(v, levels - 1) for v in inner)


class _Reader:
    """One pass over the events of a text."""

    def __init__(self, text: str, source: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._source = source
        self._values = 0
        self._anchors: dict[str, tuple[object, int]] = {}

    def document(self) -> object:
        """Return the value of the one document."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            self._fail(event, "a second document", "one document")
        return value

    def _value(self, event: Any, path: tuple[str, ...]) -> object:
        before = self._values
        self._count(event, 1)
        if len(path) > MAX_DEPTH:
            self._fail(event, "nested too deep", f"at most {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            self._fail(event, f"tagged {event.tag}", "values without tags")
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and event.tag is None
            value: object = _plain(event.value) if plain else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        return value

    def _sequence(self, path: tuple[str, ...]) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, str(len(values)))))
        return values

    def _mapping(self, path: tuple[str, ...]) -> dict[str, object]:
        values: dict[str, object] = {}
        merged: dict[str, object] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, "a key that is no text", "keys of text")
            key, line = event.value, _line(event)
            value = self._value(next(self._events), (*path, key))
            if key == "<<" and event.implicit[0]:
                self._merge(event, value, merged)
                continue
            if key in lines:
                said = f"said twice (lines {lines[key]} and {line})"
                raise SettingsError(self._source, ".".join((*path, key)), said, "each key once")
            lines[key] = line
            values[key] = value
        return {**{k: v for k, v in merged.items() if k not in values}, **values}

    def _merge(self, event: Any, value: object, into: dict[str, object]) -> None:
        """Take in what `<<: *other` or `<<: [*first, *second]` brings; the first one wins."""
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                self._fail(event, "a merge of no mapping", "<<: *name of a mapping")
            for key, inherited in part.items():
                into.setdefault(key, inherited)

    def _alias(self, event: Any) -> object:
        if event.anchor not in self._anchors:
            self._fail(event, f"an unknown alias *{event.anchor}", f"&{event.anchor} before it")
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        return value

    def _count(self, event: Any, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            self._fail(event, "too large", f"at most {MAX_VALUES} values, aliases expanded")

    def _fail(self, event: Any, problem: str, expected: str) -> NoReturn:
        mark = event.start_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}"
        raise SettingsError(self._source, where, problem, expected)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _plain(text: str) -> object:
    """Return what an unquoted scalar means."""
    lowered = text.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(re.sub(r"_|\.(?=[in])", "", lowered))
    return text
