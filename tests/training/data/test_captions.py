"""Which caption a pair is trained on: tables by uid, weights, and its own where there is none."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import uid_bytes, uid_of
from clipsieve.training.data.captions import Captions, build_texts, parse_texts, text_inputs

PAIRS = 40
UIDS = [uid_of(str(number), "") for number in range(PAIRS)]


def uids_of(indices):
    return as_strings(uid_bytes(pa.array([UIDS[index] for index in indices], pa.string())))


@pytest.fixture
def table(tmp_path):
    """A folder of two files, in no order: `short` of all pairs but the first three, `long` of every other one."""
    folder = tmp_path / "texts"
    folder.mkdir()
    numbers = [*range(PAIRS - 1, 2, -1), 2]
    rows = [
        {"uid": UIDS[n], "short": f"short {n}" if n > 2 else "", "long": f"länger {n}" if n % 2 else None}
        for n in numbers
    ]
    for part in (0, 1):
        pq.write_table(pa.Table.from_pylist(rows[part::2]), folder / f"{part}.parquet")
    return folder


def captions(table, out, *specs, seed=0):
    given = [spec.replace("TABLE", str(table)) for spec in specs]
    build_texts(given, str(out))
    return Captions(given, str(out), uids_of, seed)


def test_each_pair_has_the_text_of_its_uid_or_its_own(table, tmp_path):
    found = captions(table, tmp_path, "TABLE:short=1")
    assert [found(n, 0) for n in range(PAIRS)] == [None, None, None, *(f"short {n}" for n in range(3, PAIRS))]
    assert found.lacking(PAIRS) == 3
    long = captions(table, tmp_path / "other", "TABLE:long=1")
    assert [long(n, 0) for n in (3, 4, 39)] == ["länger 3", None, "länger 39"]
    assert long.lacking(PAIRS) == PAIRS // 2 + 1  # and the first, which the tables lack


def test_texts_are_drawn_by_their_weights_and_by_place_alone(table, tmp_path):
    found = captions(table, tmp_path, "TABLE:short=3", "caption=1", "TABLE:long=0", seed=5)
    drawn = [found(7, position) for position in range(2_000)]
    assert drawn == [found(7, position) for position in range(2_000)]
    assert [found(9, position) for position in range(99)] == [
        text.replace("7", "9") if text else None for text in drawn[:99]
    ]
    counts = Counter(drawn)
    assert counts.keys() == {"short 7", None}
    # 500 expected, of a standard deviation of 19.4
    assert abs(counts[None] - 500) < 100
    other = captions(table, tmp_path, "TABLE:short=3", "caption=1", "TABLE:long=0", seed=6)
    assert drawn != [other(7, position) for position in range(2_000)]


def test_a_manifest_has_names_weights_and_digests(table):
    inputs = text_inputs([f"{table}:short=0.25", "caption=0.75"])
    assert [*inputs] == ["texts 1 texts:short=0.25", "texts 2 caption=0.75"]
    assert len({*inputs.values()}) == 2
    assert text_inputs([f"{table}:long=0.25"])["texts 1 texts:long=0.25"] == inputs["texts 1 texts:short=0.25"]


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        (["x.parquet"], r"`texts` 'x.parquet': not TABLE:COLUMN=WEIGHT, nor caption=WEIGHT"),
        (["x.parquet:short"], "not TABLE:COLUMN=WEIGHT"),
        (["x.parquet:short=-1"], "a weight is 0 or more"),
        (["short=1"], "not TABLE:COLUMN=WEIGHT"),
        (["caption=1"], "name a column of a table"),
        (["x.parquet:short=0"], "name a column of a table"),
        (["x.parquet:a=1", "x.parquet:a=2"], "a column is named twice"),
    ],
)
def test_what_is_no_source_is_refused(specs, reason):
    with pytest.raises(InputError, match=reason):
        parse_texts(specs)


def test_a_path_may_hold_signs_of_a_source():
    (source,) = parse_texts(["gs://b/a=1:c.parquet:text=0.5"])
    assert (source.path, source.column, source.weight) == ("gs://b/a=1:c.parquet", "text", 0.5)


def test_a_table_that_is_none_is_named(table, tmp_path):
    pq.write_table(pa.table({"uid": UIDS[:2], "n": [1, 2]}), tmp_path / "n.parquet")
    for spec, reason in [
        ("TABLE:none=1", "column 'none' is missing"),
        (f"{tmp_path}/n.parquet:n=1", "n.parquet: column 'n' holds int64, not text"),
        (f"{tmp_path}/gone.parquet:n=1", "gone.parquet: no such file"),
    ]:
        with pytest.raises(InputError, match=reason):
            captions(table, tmp_path / "out", spec)
