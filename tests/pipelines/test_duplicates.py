from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.duplicates import BUCKET_ROWS, bucket_count, find_duplicates, pack_records, split_buckets

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


def test_buckets_hold_about_a_million_rows_each():
    assert bucket_count(1) == 1
    assert bucket_count(BUCKET_ROWS + 1) == 2
    assert bucket_count(12_800_000_000) * BUCKET_ROWS >= 12_800_000_000
    assert bucket_count(10**15) == 65_536
