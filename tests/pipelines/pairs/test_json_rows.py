from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.pairs import json_rows
from clipsieve.pipelines.pairs.formats import text_format
from clipsieve.pipelines.pairs.json_rows import iter_json_rows
from clipsieve.schemas.errors import InputError


def rows_of(path):
    form = text_format(str(path))
    assert form is not None
    return list(iter_json_rows(str(path), form))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
objects = st.lists(st.dictionaries(texts, texts, max_size=3), max_size=6)
spaces = st.text(" \t\r\n", max_size=3)


@settings(max_examples=60, deadline=None)
@given(objects, spaces, st.sampled_from([None, 1, 2]), st.booleans(), st.integers(1, 9))
def test_objects_are_read_however_they_are_laid_out(tmp_path_factory, rows, space, indent, is_array, read_chars):
    path = tmp_path_factory.mktemp("json") / "t.json"
    written = [json.dumps(row, indent=indent, ensure_ascii=False) for row in rows]
    inner = (f"{space},{space}" if is_array else f"{space}\n").join(written)
    path.write_text(
        f"{space}[{space}{inner}{space}]{space}" if is_array else f"{space}{inner}{space}", "utf-8", newline=""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_READ_CHARS", read_chars)  # a value then lies over several reads
        assert rows_of(path) == rows


NAN_LINES = [
    ('{"caption": NaN}', {"caption": None}),
    ('{"caption": null}', {"caption": None}),
    ('{"n": Infinity, "m": -Infinity}', {"n": "Infinity", "m": "-Infinity"}),
    ('{"n": [NaN, 1]}', {"n": "[null, 1]"}),
    ('{"n": {"deep": NaN}}', {"n": '{"deep": null}'}),
    ('{"caption": "NaN"}', {"caption": "NaN"}),
    ('{"n": 1e999}', {"n": "Infinity"}),
]


@pytest.mark.parametrize(("line", "row"), NAN_LINES)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_the_nan_of_pythons_json_is_missing(tmp_path, line, row, name):
    (tmp_path / name).write_text(line)
    assert rows_of(tmp_path / name) == [row]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"a": 1}, 5]', "row 2: not a JSON object in UTF-8 .a JSON int, not an object"),
        ('[{"a": 1} {"a": 2}]', "row 2: .*the array does not go on after the object before it"),
        ('[{"a": 1}', "row 2: .*the array does not go on"),
        ('[{"a": 1},', "row 2: not a JSON object"),
        ('[{"a": 1}, {"a": ', "row 2: not a JSON object"),
        ('{"a": 1}\n{"a": \n', "row 2: not a JSON object"),
        ('[{"a": 1}] []', "row 2: .*a JSON list, not an object"),
        ("[" * 100_000, "row 1: not a JSON object"),
        ('"text"', "row 1: .*a JSON str, not an object"),
        (b'[{"a": "\xff"}]', "row 1: not a JSON object in UTF-8"),
        ('[{"a": "\\ud800"}]', "row 1: .*surrogates"),
    ],
)
def test_what_is_no_object_is_named_by_row(tmp_path, content, reason):
    (tmp_path / "t.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=rf"t\.json: {reason}") as error:
        rows_of(tmp_path / "t.json")
    assert "\n" not in str(error.value)


def test_an_object_without_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "_MOST_CHARS", 1 << 12)
    monkeypatch.setattr(json_rows, "_READ_CHARS", 1 << 10)
    (tmp_path / "t.json").write_text('[{"a": "' + "x" * 50_000 + '"}]')
    with pytest.raises(InputError, match=r"t\.json: row 1: .*it does not end within 4,096 characters"):
        rows_of(tmp_path / "t.json")


def test_an_array_is_not_held_as_a_whole(tmp_path):
    with (tmp_path / "t.json").open("w") as stream:
        stream.write("[" + ",\n".join(json.dumps({"a": str(row) * 100}) for row in range(60_000)) + "]")
    form = text_format(str(tmp_path / "t.json"))
    assert form is not None
    tracemalloc.start()
    count = sum(1 for _ in iter_json_rows(str(tmp_path / "t.json"), form))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 60_000
    assert peak < (tmp_path / "t.json").stat().st_size / 2
