"""Layers of settings: defaults, files, environment and flags laid over each other, key by key.

Each leaf remembers where it was said, so that an error names the file or the variable to change,
and `aurora config` can tell. A section (`router.weights`) merges with what lies beneath it; a
mapping with free keys (`providers`, `mix`, a price list) replaces it whole.
"""

import difflib
import types
import typing
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec

from aurora_batch.errors import SettingsError
from aurora_batch.settings import Contradiction, Settings
from aurora_batch.settings_types import convert, describe, show, to_plain

Path = tuple[str, ...]
DEFAULT = "default"
FLAG = "--set"


@dataclass(frozen=True)
class Said:
    """A value and where it was said: a file, a variable, a flag, or "default"."""

    value: Any
    source: str
    loose: bool = False  # text from outside a file: numbers may be quoted


class Layers:
    """The keys said so far; starts with the built-in defaults, later layers win."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}  # nested as the settings are; leaves are `Said`
        self._sources: dict[Path, str] = {}  # of each section: who last said something in it
        self._origins: dict[str, str] = {}
        for name, value in to_plain(Settings()).items():
            self.put((name,), Said(value, DEFAULT))

    def put(self, path: Sequence[str], said: Said, *, fold: bool = False) -> None:
        """Say the value of one key, or of a whole section, over the layers before.

        `fold` finds keys in spite of case and of `-` for `_`, as variables need it. Entries of
        `providers` and the like are added whole only: a name misspelt in a longer path is an error.
        """
        tree: dict[str, Any] = self._tree
        section: Any = Settings
        done: Path = ()
        for given in path:
            self._sources[done] = said.source
            name = _folded(given, section, tree) if fold else given
            done = (*done, name)
            whole = (*done, *path[len(done) :])
            kind = _kind_of(section, name, whole, said)
            if whole == done:
                self._plant(tree, kind, done, said)
                return
            if _is_free(section) and _is_section(_branch(kind)) and name not in tree:
                raise unknown_key(said, whole, name, tree)
            section = _branch(kind)
            if section is None:
                key, expected = ".".join(whole), f"{'.'.join(done)} to be {describe(kind)}"
                raise SettingsError(said.source, key, show(said.value, key), expected)
            if not isinstance(tree.get(name), dict):
                tree[name] = {}
            tree = tree[name]

    def _plant(self, tree: dict[str, Any], kind: Any, path: Path, said: Said) -> None:
        name, section = path[-1], _branch(kind)
        if said.value is None and section is _bare(kind):
            # `weights:` with nothing beneath it says nothing, except that an entry is there.
            if _is_section(section):
                tree.setdefault(name, {})
                self._sources.setdefault(path, said.source)
            return
        if section is None or not isinstance(said.value, dict):
            tree[name] = said
            return
        if _is_free(section) or not isinstance(tree.get(name), dict):
            tree[name] = {}
        self._sources[path] = said.source
        for key, value in said.value.items():
            below, inner = (*path, key), replace(said, value=value)
            self._plant(tree[name], _kind_of(section, key, below, inner), below, inner)

    def build(self) -> tuple[Settings, dict[str, str]]:
        """Return the settings, and where each leaf was said, by dotted key.

        Raises
        ------
        SettingsError
            A value has the wrong type, is out of range, is missing, or contradicts another one.
        """
        self._origins = {}
        return self._section(Settings, self._tree, ()), self._origins

    def _section(self, cls: Any, tree: dict[str, Any], path: Path) -> Any:
        values = {}
        for field in msgspec.structs.fields(cls):
            below, kind = (*path, field.name), _fields(cls)[field.name]
            if field.name in tree:
                values[field.name] = self._value(kind, tree[field.name], below)
            elif field.required:
                key = ".".join(below)
                raise SettingsError(self._source(path), key, "missing", describe(kind))
        try:
            made = cls(**values)
        except Contradiction as error:
            where = (*path, *error.key.split(".")) if error.key else path
            value = show(error.value, error.key)
            raise SettingsError(
                self._source(where), ".".join(where), value, error.expected
            ) from error
        for name in (n for n in _fields(cls) if n not in values):
            for key, _ in leaves(to_plain(getattr(made, name)), (*path, name)):
                self._origins[key] = DEFAULT
        return made

    def _value(self, kind: Any, node: Any, path: Path) -> Any:
        section = _branch(kind)
        if isinstance(node, dict) and _is_section(section):
            return self._section(section, node, path)
        if isinstance(node, dict) and node:
            below = typing.get_args(section)[1]
            return {name: self._value(below, child, (*path, name)) for name, child in node.items()}
        said = Said({}, self._source(path)) if isinstance(node, dict) else node
        key = ".".join(path)
        self._origins[key] = FLAG if said.source.startswith(FLAG) else said.source
        try:
            return convert(said.value, kind, loose=said.loose)
        except msgspec.ValidationError as error:
            value = show(said.value, key)
            raise SettingsError(said.source, key, value, describe(kind)) from error

    def _source(self, path: Path) -> str:
        """Return who said the leaf, or who last said something in the nearest section above."""
        node: Any = self._tree
        for name in path:
            node = node.get(name) if isinstance(node, dict) else None
        said = [node.source] if isinstance(node, Said) else []
        above = [self._sources.get(path[:n], DEFAULT) for n in range(len(path), -1, -1)]
        return next((source for source in said + above if source != DEFAULT), DEFAULT)


def unknown_key(said: Said, path: Path, name: str, known: Collection[str]) -> SettingsError:
    """Return the error for a key that does not exist: `name`, one of the parts of `path`."""
    key, near = ".".join(path), nearest(name.lower(), known)
    meant = ", ".join(known) if near is None else f"did you mean {near}?"
    return SettingsError(said.source, key, show(said.value, key), f"a known key: {meant}")


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that was probably meant."""
    return next(iter(difflib.get_close_matches(name, known, 1)), None)


def leaves(plain: Any, path: Path = ()) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of plain settings, depth first; an empty mapping is a leaf."""
    if isinstance(plain, dict) and plain:
        for name, value in plain.items():
            yield from leaves(value, (*path, name))
    else:
        yield ".".join(path), plain


@cache
def _fields(section: Any) -> dict[str, Any]:
    """Types of the keys of a section."""
    return typing.get_type_hints(section, include_extras=True)


@cache
def _branch(kind: Any) -> Any:
    """Return the section or the mapping that a type holds, None where it is a leaf."""
    kind = _bare(kind)
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    arms = typing.get_args(kind) if union else (kind,)
    return next((arm for arm in arms if _is_section(arm) or _is_free(arm)), None)


def _bare(kind: Any) -> Any:
    """Return a type without its bounds and description."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_free(kind: Any) -> bool:
    """Whether a type is a mapping with free keys."""
    return typing.get_origin(kind) is dict


def _kind_of(section: Any, name: str, path: Path, said: Said) -> Any:
    """Return the type of a key in a section; raises, with the whole path, where there is none."""
    if _is_free(section):
        return typing.get_args(section)[1]
    fields = _fields(section)
    if name not in fields:
        raise unknown_key(said, path, name, fields)
    return fields[name]


def _folded(name: str, section: Any, tree: Collection[str]) -> str:
    """Return the known key that a variable's part means, else the part in lower case."""
    known = tree if _is_free(section) else _fields(section)
    same = (k for k in known if k.lower().replace("-", "_") == name.lower())
    return next(same, name.lower())
