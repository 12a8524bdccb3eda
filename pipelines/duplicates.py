"""Rows that repeat a uid, found by a shuffle of uids alone: packed blocks of 24 bytes a row, no single rows.

A record is a row's uid (16 bytes) and its number in the whole input (8 bytes, big-endian). Records go to
buckets by the uid's leading 16 bits; a bucket holds about a million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BUCKET_ROWS = 1 << 20
"""Rows that a bucket is to hold; also the rows that are read to make one set of blocks."""

RECORD_BYTES = 24
_MAX_BUCKETS = 1 << 16


def bucket_count(rows: int) -> int:
    return min(_MAX_BUCKETS, -(-rows // BUCKET_ROWS))


def pack_records(uids: np.ndarray, first_row: int) -> np.ndarray:
    """uids uint8[N, 16] of consecutive input rows from ``first_row`` on -> records uint8[N, 24]."""
    rows = np.arange(first_row, first_row + len(uids), dtype=">u8")
    return np.concatenate([uids, rows.view(np.uint8).reshape(-1, 8)], axis=1)


def split_buckets(records: np.ndarray, buckets: int) -> Iterator[tuple[int, bytes]]:
    """records uint8[N, 24] -> (bucket, its records as bytes), each bucket that has any once."""
    prefix = records[:, 0].astype(np.uint32) * 256 + records[:, 1]
    bucket_of = prefix * np.uint32(buckets) >> np.uint32(16)
    for bucket in np.unique(bucket_of):
        yield int(bucket), records[bucket_of == bucket].tobytes()


def find_duplicates(blocks: Sequence[bytes]) -> np.ndarray:
    """Blocks of one bucket, in any order -> int64[D]: the rows whose uid an earlier row has, ascending."""
    records = np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, RECORD_BYTES)
    upper, lower, rows = records.view(">u8").astype(np.uint64).T
    order = np.lexsort((rows, lower, upper))
    upper, lower, rows = upper[order], lower[order], rows[order]
    repeats = np.zeros(len(rows), bool)
    repeats[1:] = (upper[1:] == upper[:-1]) & (lower[1:] == lower[:-1])
    return np.sort(rows[repeats].astype(np.int64))
