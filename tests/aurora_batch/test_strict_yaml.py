"""Strict YAML: what is read, what is refused, what text means."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.errors import SettingsError
from aurora_batch.strict_yaml import MAX_BYTES, parse_value, read_document

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdefg_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


BOUNDS = "JSON of at most 32 levels, with numbers of ordinary size"


def read(tmp_path: Path, text: str | bytes, name: str = "f.yaml") -> object:
    """The value of a file with this text."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a:\n", {"a": None}),
        ("{4090: 1.5, no: 2, 1e3: 3}", {"4090": 1.5, "no": 2, "1e3": 3}),
        ("[off, yes, true, False, null, ~]", ["off", "yes", True, False, None, None]),
        ("[10_000, -3, 5e-4, .5, 1., 1.5e3]", [10_000, -3, 5e-4, 0.5, 1.0, 1500.0]),
        ("['1', \"2\", !!str 3, 2024-01-01, 1:30]", ["1", "2", "3", "2024-01-01", "1:30"]),
        (
            "base: &b {x: 1, y: 2}\nmine: {<<: *b, y: 3}",
            {"base": {"x": 1, "y": 2}, "mine": {"x": 1, "y": 3}},
        ),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_yaml_is_read_as_a_person_means_it(tmp_path: Path, text: str, value: object) -> None:
    """Keys are text, words stay words, numbers are those of JSON, merges and aliases work."""
    assert read(tmp_path, text) == value


@given(JSON_VALUES)
def test_json_text_means_the_same_in_yaml(value: object) -> None:
    """Any JSON value on one line is read back as itself."""
    assert parse_value(json.dumps({"v": value}, ensure_ascii=False)) == {"v": value}


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "a is said twice (lines 1 and 3)", "each key once"),
        ("a: {b: [{c: 1, c: 2}]}", "a.b.0.c is said twice (lines 1 and 1)", "each key once"),
        (
            "a: [1",
            "line 2, column 1 is not YAML (did not find expected ',' or ']')",
            "YAML or JSON",
        ),
        (
            "a:\n\tb: 1",
            "line 2, column 1 is not YAML (found character that cannot start any token)",
            "YAML or JSON",
        ),
        ("\x00", "the file is not YAML (control characters are not allowed)", "YAML or JSON"),
        (b"a: 1\nb: \xff", "line 2 is not UTF-8", "text in UTF-8"),
        ("a: 1\n---\nb: 2", "line 2, column 1 is a second document", "one document"),
        (
            "a: !!python/name:os.system x",
            "line 1, column 4 is tagged tag:yaml.org,2002:python/name:os.system",
            "values without tags",
        ),
        ("? [a]\n: 1", "line 1, column 3 is a key that is no text", "keys of text"),
        ("a: *b", "line 1, column 4 is an unknown alias *b", "&b before it"),
        ("a: &a [*a]", "line 1, column 8 is an unknown alias *a", "&a before it"),
        ("{<<: 3}", "line 1, column 2 is a merge of no mapping", "<<: *name of a mapping"),
        ("[" * 1000, "line 1, column 34 is nested too deep", "at most 32 levels"),
        ("x" * (MAX_BYTES + 1), "the file is too large", "at most 4 MiB"),
    ],
)
def test_what_is_no_clear_document_is_one_line(
    tmp_path: Path, text: str | bytes, said: str, expected: str
) -> None:
    """Each fault names its place; nothing is guessed."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)

    assert str(caught.value) == f"f.yaml: {said}; expected {expected}"


def test_aliases_cannot_make_a_small_file_large(tmp_path: Path) -> None:
    """Six levels of ten aliases are refused before they are expanded."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]

    with pytest.raises(SettingsError, match="at most 500000 values, aliases expanded"):
        read(tmp_path, "\n".join(levels))


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ('{"a": 1, "a": 2}', "a is said twice", "each key once"),
        ('{"a": }', "line 1, column 7 is not JSON (Expecting value)", "JSON"),
        ("[" * 40 + "]" * 40, "the file is out of bounds", BOUNDS),
        ("[" * 100_000, "the file is out of bounds", BOUNDS),
        ("1" * 5000, "the file is out of bounds", BOUNDS),
    ],
)
def test_json_files_are_as_strict(tmp_path: Path, text: str, said: str, expected: str) -> None:
    """A `.json` file has the same bounds, and may be indented by tabs, which YAML may not."""
    assert read(tmp_path, '{\n\t"a": 5e-4\n}', "f.json") == {"a": 5e-4}
    assert read(tmp_path, " \n", "f.json") is None

    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, "f.json")

    assert str(caught.value) == f"f.json: {said}; expected {expected}"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    """What cannot be opened says why."""
    for path, why in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=f"the file is unreadable .{why}"):
            read_document(path, "f.yaml")
