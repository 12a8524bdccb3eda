from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.duplicates import (
    BUCKET_ROWS,
    bucket_count,
    find_duplicates,
    find_repeats,
    pack_records,
    repeats_in,
    split_buckets,
)
from clipsieve.schemas.errors import ClipsieveError

# Few values, alike in one half or the other, so that they repeat and collide in part.
uids = st.sampled_from([bytes([a] + [b] * 14 + [c]) for a in (0, 128, 255) for b in (0, 255) for c in (0, 1)])


@given(st.lists(uids, max_size=60), st.integers(1, 7), st.integers(0, 2**40), st.randoms())
def test_all_but_the_first_row_of_a_uid_are_found(values, buckets, first_row, random):
    records = pack_records(np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16), first_row)
    cut = len(values) // 2
    blocks: dict[int, list[bytes]] = {}
    for part in (records[:cut], records[cut:]):
        for bucket, block in split_buckets(part, buckets):
            assert 0 <= bucket < buckets
            blocks.setdefault(bucket, []).append(block)
    found = []
    for parts in blocks.values():
        random.shuffle(parts)
        found += find_duplicates(parts).tolist()

    seen: dict[bytes, int] = {}
    expected = [first_row + row for row, uid in enumerate(values) if seen.setdefault(uid, row) != row]
    assert sorted(found) == expected


def test_buckets_hold_half_a_million_rows_each():
    assert BUCKET_ROWS == 524_288
    assert [bucket_count(rows) for rows in (1, 524_288, 524_289, 12_800_000_000)] == [1, 1, 2, 24_415]
    assert bucket_count(10**15) == 65_536


@pytest.mark.parametrize("buckets", [1, 2, 191, 24_415, 65_536])
def test_uids_are_spread_evenly_over_the_buckets_by_their_leading_bits(buckets):
    raw = np.zeros((65_536, 16), np.uint8)
    raw[:, :2] = np.arange(65_536).astype(">u2").view(np.uint8).reshape(-1, 2)
    found = list(split_buckets(pack_records(raw, 0), buckets))
    sizes = [len(records) // 24 for _, records in found]
    assert [bucket for bucket, _ in found] == list(range(buckets))
    assert max(sizes) - min(sizes) <= 1
    assert b"".join(records for _, records in found) == pack_records(raw, 0).tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(uids, min_size=1, max_size=80), st.data())
def test_repeats_are_found_by_files_and_read_back_by_any_span(tmp_path_factory, values, data):
    folder = tmp_path_factory.mktemp("scratch")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(values)), max_size=4)) | {0, len(values)})
    raw = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)
    path = find_repeats([raw[a:b] for a, b in pairwise(cuts)], len(values), folder)
    assert list(folder.iterdir()) == [path]
    assert path.stat().st_size == -(-len(values) // 8)  # a bit a row
    start = data.draw(st.integers(0, len(values) - 1))
    count = data.draw(st.integers(1, len(values) - start))
    seen: dict[bytes, int] = {}
    expected = [row for row, uid in enumerate(values) if seen.setdefault(uid, row) != row]
    found = repeats_in(path, start, count)
    assert found.tolist() == [row - start for row in expected if start <= row < start + count]


def test_many_buckets_are_one_answer(tmp_path):
    rows = 3 * BUCKET_ROWS + 5
    raw = np.zeros((rows, 16), np.uint8)
    raw[:, :8] = np.random.default_rng(0).permutation(rows).astype(">u8").view(np.uint8).reshape(-1, 8)
    raw[:, 0] = raw[:, 7]  # spread over the buckets
    again = np.arange(1, rows, 100_003)
    raw[again] = raw[again - 1]
    path = find_repeats(np.array_split(raw, 4), rows, tmp_path)
    assert repeats_in(path, 0, rows).tolist() == again.tolist()
    for start in (1, 8, 99, 100_004, 300_001):
        wanted = again[(again >= start) & (again < start + 200_006)]
        assert repeats_in(path, start, 200_006).tolist() == (wanted - start).tolist()


def test_a_scratch_folder_without_room_is_named(tmp_path):
    full = tmp_path / "0.records"
    full.symlink_to("/dev/full")
    with pytest.raises(ClipsieveError, match=r"No space left on device; make room there, or set TMPDIR") as error:
        find_repeats([np.zeros((3, 16), np.uint8)], 3, tmp_path)
    assert str(error.value).startswith(str(tmp_path))
