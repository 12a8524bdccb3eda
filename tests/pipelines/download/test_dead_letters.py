"""Dead letters: what failed in the end, each row once, as its last pass left it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.download.dead_letters import dead_letters_path, iter_failures, write_dead_letters
from clipsieve.schemas import tables
from clipsieve.schemas.outcomes import ErrorClass, is_retryable
from clipsieve.schemas.tables import DEAD_LETTERS, SHARDS

ENDS: list[tuple[ErrorClass | None, int | None]] = [
    (None, 200),
    (ErrorClass.TIMEOUT, None),
    (ErrorClass.HTTP_ERROR, 404),
    (ErrorClass.HTTP_ERROR, 503),
    (ErrorClass.OPTED_OUT, 200),
    (ErrorClass.DECODE_ERROR, 200),
]


def write_shard(folder: Path, name: str, ended: dict[int, int]) -> str:
    """A shard's Parquet of {row of the input: index in ENDS}."""
    rows = [
        {
            "uid": f"{row:032x}",
            "url": f"u{row}",
            "error_class": error_class.value if error_class else None,
            "http_status": http_status,
            "consent": "x_robots_tag" if error_class is ErrorClass.OPTED_OUT else None,
        }
        for row, (error_class, http_status) in ((row, ENDS[end]) for row, end in ended.items())
    ]
    tables.write_table(pa.Table.from_pylist(rows, SHARDS.schema), SHARDS, str(folder / f"{name}.parquet"))
    return name


def letters(folder: Path) -> list[tuple]:
    rows = tables.read_table(dead_letters_path(str(folder)), DEAD_LETTERS).to_pylist()
    return [(int(row["uid"], 16), *(row[name] for name in DEAD_LETTERS.columns[1:])) for row in rows]


def test_each_failure_by_hand(tmp_path: Path) -> None:
    passes = [
        [write_shard(tmp_path, "00000", {0: 0, 1: 1, 2: 2}), write_shard(tmp_path, "00001", {3: 3, 4: 4, 5: 5, 6: 3})],
        [write_shard(tmp_path, "00002", {1: 0, 3: 3}), write_shard(tmp_path, "00003", {6: 2})],
    ]
    assert write_dead_letters(str(tmp_path), passes) == {
        "http_error": 3,
        "opted_out": 1,
        "decode_error": 1,
    }
    assert letters(tmp_path) == [
        (2, "u2", "fetch", "http_error", 404, None, False),
        (4, "u4", "fetch", "opted_out", 200, "x_robots_tag", False),
        (5, "u5", "image", "decode_error", 200, None, False),
        (3, "u3", "fetch", "http_error", 503, None, True),
        (6, "u6", "fetch", "http_error", 404, None, False),
    ]


def test_where_nothing_failed_the_table_is_empty(tmp_path: Path) -> None:
    assert write_dead_letters(str(tmp_path), [[write_shard(tmp_path, "00000", {0: 0})]]) == {}
    assert letters(tmp_path) == []


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, len(ENDS) - 1), min_size=8, max_size=8), min_size=1, max_size=4))
def test_downloads_and_dead_letters_are_all_rows_each_once(
    tmp_path_factory: pytest.TempPathFactory, drawn: list
) -> None:
    """Any ends in any number of passes, each of which tries just what the one before left retryable."""
    folder, passes, left = tmp_path_factory.mktemp("passes"), [], list(range(8))
    downloaded: list[int] = []
    for number, ends in enumerate(drawn):
        ended = {row: ends[row] for row in left}
        passes.append([write_shard(folder, f"{number:05d}", ended)])
        downloaded += [row for row, end in ended.items() if end == 0]
        left = [row for row, end in ended.items() if end in (1, 3)]
    write_dead_letters(str(folder), passes)
    failed = [letter[0] for letter in letters(folder)]
    assert sorted(downloaded + failed) == list(range(8))
    assert sorted(letter[0] for letter in letters(folder) if letter[-1]) == left


def test_failures_of_many_shards_come_in_their_order(tmp_path: Path) -> None:
    names = [write_shard(tmp_path, f"{number:05d}", {number: 1}) for number in range(40)]
    found = [uid for rows in iter_failures(str(tmp_path), names) for uid in rows["uid"].to_pylist()]
    assert found == [f"{number:032x}" for number in range(40)]


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_what_may_pass(error_class: ErrorClass) -> None:
    passing = {ErrorClass.TIMEOUT, ErrorClass.CONNECTION_ERROR, ErrorClass.DNS_ERROR}
    assert is_retryable(error_class, 200) == (error_class in passing)
    assert is_retryable(error_class, None) == (error_class in passing)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 451, 501, 505])
def test_statuses_that_stay(status: int) -> None:
    assert not is_retryable(ErrorClass.HTTP_ERROR, status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 599])
def test_statuses_that_may_pass(status: int) -> None:
    assert is_retryable(ErrorClass.HTTP_ERROR, status)


def test_a_success_is_not_tried_again() -> None:
    assert not is_retryable(None, 200)
