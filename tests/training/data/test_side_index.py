"""An index of rows by uid against a dict, and what is kept from run to run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.training.data.side_index import ROW, UidIndex, built_once, write_index

UIDS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=40, unique=True)


def rows_of(uids, start=0):
    rows = np.empty(len(uids), ROW)
    rows["uid"] = as_strings(np.frombuffer(b"".join(uids), np.uint8).reshape(-1, 16))
    rows["start"], rows["size"] = start + np.arange(len(uids)), 7
    return rows


@given(UIDS, UIDS, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_uid_is_found_where_a_dict_has_it(tmp_path_factory, uids, others, blocks):
    folder = tmp_path_factory.mktemp("index")
    write_index(folder, np.array_split(rows_of(uids), blocks), "table")
    index, known = UidIndex(folder), {uid: number for number, uid in enumerate(uids)}
    found = index.find(rows_of(uids + others)["uid"])
    starts = [int(index.starts[row]) if row >= 0 else None for row in found]
    assert starts == [known.get(uid) for uid in uids + others]
    assert sorted(path.name for path in folder.iterdir()) == ["sizes.npy", "starts.npy", "uids.npy"]


def test_a_uid_of_two_rows_and_a_table_without_any_are_refused(tmp_path):
    uid = bytes(range(16))
    with pytest.raises(InputError, match=rf"^some table: two rows have the uid {uid.hex()}; leave one$"):
        write_index(tmp_path, [rows_of([uid]), rows_of([bytes(16), uid])], "some table")
    with pytest.raises(InputError, match=r"^some table: no row with a value there$"):
        write_index(tmp_path, [rows_of([uid])[:0]], "some table")


def test_what_was_built_from_the_same_input_stays(tmp_path):
    def build(content):
        return lambda folder: (folder / "a").write_text(content)

    (tmp_path / "side" / "x.part").mkdir(parents=True)  # of a run that was killed
    folder = built_once(str(tmp_path), "x", "1", build("first"))
    assert built_once(str(tmp_path), "x", "1", build("second")) == folder
    assert (folder / "a").read_text() == "first"
    built_once(str(tmp_path), "x", "2", build("third"))
    assert (folder / "a").read_text() == "third"


def test_it_has_to_be_local():
    with pytest.raises(InputError, match="`out` has to be local"):
        built_once("memory://run", "x", "1", lambda _: None)
