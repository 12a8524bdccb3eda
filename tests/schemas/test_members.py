"""Subset files, against plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import (
    as_raw,
    as_strings,
    count,
    find,
    load_members,
    read_members,
    read_subset,
    write_members,
)
from clipsieve.schemas.uid import UID_U64_PAIR

# Zero bytes at either end: numpy's byte strings drop them where they may.
raw_uids = st.lists(st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\1" + bytes(15)]), unique=True)


def as_array(uids: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(uids), np.uint8).reshape(-1, 16)


@given(raw_uids, raw_uids)
def test_find_is_set_membership(members: list[bytes], asked: list[bytes]) -> None:
    found = find(as_strings(as_array(sorted(members))), as_array(asked))
    assert found.tolist() == [uid in set(members) for uid in asked]


@given(raw_uids)
def test_strings_and_raw_are_inverse_and_sort_alike(uids: list[bytes]) -> None:
    strings = as_strings(as_array(uids))
    assert [row.tobytes() for row in as_raw(strings)] == uids
    assert [row.tobytes() for row in as_raw(np.sort(strings))] == sorted(uids)


@given(raw_uids, st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_count_is_how_often_each_stands(asked: list[bytes], times: list[int]) -> None:
    members = sorted(uid for uid, number in zip(asked, times, strict=False) for _ in range(number))
    assert count(as_strings(as_array(members)), as_array(asked)).tolist() == [members.count(uid) for uid in asked]


@settings(max_examples=30)
@given(raw_uids, st.booleans())
def test_an_npy_is_read_with_and_without_header(tmp_path_factory, uids: list[bytes], header: bool) -> None:
    path = tmp_path_factory.mktemp("subset") / "subset.npy"
    uids = sorted(uids)
    pairs = np.array([(int.from_bytes(u[:8], "big"), int.from_bytes(u[8:], "big")) for u in uids], UID_U64_PAIR)
    if header:
        np.save(path, pairs)
    else:
        pairs.tofile(path)
    assert [row.tobytes() for row in as_raw(read_members(str(path)))] == uids


@pytest.mark.parametrize("array", [np.zeros(4), np.zeros((2, 2), UID_U64_PAIR), np.zeros(3, "u8,u4")])
def test_another_npy_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=r"x\.npy: not a subset: it holds"):
        read_members(str(tmp_path / "x.npy"))


def test_an_npy_that_would_have_to_be_unpickled_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy: not a readable npy file"):
        read_members(str(path))


def test_a_truncated_npy_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(4, "u8,u8"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"x\.npy: not a readable npy file"):
        read_members(str(path))


def test_uids_that_are_not_hexadecimal_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"uid": ["z" * 32]}), path)
    with pytest.raises(InputError, match="column 'uid' holds a value that is not 32 hex digits"):
        read_members(str(path))


def test_bytes_that_are_not_whole_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(bytes(24))
    with pytest.raises(InputError, match=r"x\.npy: not a subset: neither Parquet nor npy, nor a multiple of 16 bytes"):
        read_subset(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("folder", ["", "memory://members/"])
def test_written_members_are_loaded_and_nothing_is_unpickled(tmp_path: Path, folder: str) -> None:
    path = f"{folder or tmp_path}/members.npy"
    members = as_strings(as_array(sorted([bytes(16), b"\1" + bytes(15), bytes(range(16))])))
    write_members(members, path)
    found = load_members(path)
    assert isinstance(found, np.memmap) == (not folder)
    assert found.dtype == "S16" and np.array_equal(found, members)
    with files.atomic_write(path) as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle=False|Python objects"):
        load_members(path)


def write_npy(path: Path, uids: list[int]) -> Path:
    np.save(path, np.array([divmod(uid, 1 << 64) for uid in uids], UID_U64_PAIR))
    return path


def test_multiplicity_is_read_and_refused_where_a_member_is_a_member(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "x.npy", [3, 3, 1 << 70])
    assert [int.from_bytes(row.tobytes(), "big") for row in as_raw(read_subset(str(path)))] == [3, 3, 1 << 70]
    for uids in ([3, 3, 1 << 70], [1, 3, 3, 5, 6, 6, 1 << 70], [1, 3, 3]):
        with pytest.raises(InputError, match=f"uid {3:032x} stands in it twice"):
            read_members(str(write_npy(path, uids)))


def test_an_npy_that_is_not_sorted_is_refused_with_the_number(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "x.npy", [5, 1 << 64, 7, 9, 8])
    with pytest.raises(InputError, match=r"x\.npy: not sorted: 2 of its 5 uids are less than the one before"):
        read_subset(str(path))


def test_a_list_of_uids_is_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "uids.txt"
    for text in (f"{9:032x}\n{2:032x}\n{9:032x}\n", f"{9:032x}\r\n\r\n{2:032x}\r\n{9:032x}"):
        path.write_bytes(text.encode())
        assert [row.tobytes()[-1] for row in as_raw(read_subset(str(path)))] == [2, 9, 9]


@pytest.mark.parametrize("line", [f"{7:031x}", f"{7:033x}", "G" * 32, "0" * 16 + " " + "0" * 16, "# a comment", "é"])
def test_a_wrong_line_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "uids.txt"
    path.write_text(f"{1:032x}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"uids\.txt: line 2: .* is not a uid"):
        read_subset(str(path))


@given(raw_uids)
def test_a_parquet_of_16_bytes_a_uid_is_a_subset(tmp_path_factory, uids: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("subset") / "subset.parquet"
    pq.write_table(pa.table({"uid": pa.array(uids, pa.binary(16))}), path)
    assert as_raw(read_subset(str(path))).tobytes() == b"".join(sorted(uids))
