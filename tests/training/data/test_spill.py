"""Rows that are sorted through the disk, next to numpy's sort of all at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.training.data import spill
from clipsieve.training.data.spill import SortedRows

ROW = np.dtype([("uid", "S16"), ("number", "<u4")])
UIDS = st.one_of(st.binary(min_size=16, max_size=16), st.integers(0, 40).map(lambda n: bytes(15) + bytes([n])))


def collected(uids, length, folder):
    rows = np.zeros(len(uids), ROW)
    rows["uid"], rows["number"] = np.array(uids, "S16"), np.arange(len(uids))
    ordered = SortedRows(folder, ROW, lambda: rows["uid"][::3])
    for start in range(0, len(rows), length):
        ordered.add(rows[start : start + length])
    return rows, ordered, np.concatenate(list(ordered.blocks()))


@pytest.mark.parametrize("held", [1, 200, 1 << 20])
@given(uids=st.lists(UIDS, max_size=60), length=st.integers(1, 20))
def test_all_rows_come_in_the_order_of_their_uids(held, uids, length):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "_HELD_BYTES", held)
        rows, ordered, sorted_rows = collected(uids, length, Path(folder))
        assert sorted_rows["uid"].tolist() == np.sort(rows["uid"]).tolist()
        assert sorted(sorted_rows["number"].tolist()) == list(range(len(rows)))
        assert (rows["uid"][sorted_rows["number"]] == sorted_rows["uid"]).all()
        assert ordered.repeated == len(uids) - len(set(np.array(uids, "S16").tolist()))
        assert list(Path(folder).iterdir()) == []


def test_the_first_uid_that_is_repeated_is_known(tmp_path):
    _, ordered, _ = collected([bytes(16), b"a" * 16, b"b" * 16, b"a" * 16, b"b" * 16], 2, tmp_path)
    assert (ordered.repeated, ordered.first_repeated) == (2, "61" * 16)
