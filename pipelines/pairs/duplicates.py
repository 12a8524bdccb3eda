"""Rows that repeat a uid: of each uid the first row is kept.

    uids -> records of 24 bytes -> by bucket -> sorted -> rows that repeat one

A record is a row's uid (16 bytes) and its number in the whole input (8 bytes, big-endian). Records go to buckets by
the uid's leading 16 bits, about half a million to each. On one machine the buckets are files and what is found a bit
a row (`find_repeats`): 100 million rows take 2.4 GB of disk and no more memory than a million. On other runners
the blocks of records are what a shuffle moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clipsieve.schemas.errors import ClipsieveError

BUCKET_ROWS = 1 << 19
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
    order = np.argsort(bucket_of, kind="stable")
    counts = np.bincount(bucket_of)
    ends = np.cumsum(counts)
    for bucket in np.flatnonzero(counts).tolist():
        yield bucket, records[order[ends[bucket] - counts[bucket] : ends[bucket]]].tobytes()


def find_duplicates(blocks: Sequence[bytes]) -> np.ndarray:
    """Blocks of one bucket, in any order -> int64[D]: the rows whose uid an earlier row has, ascending."""
    records = np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, RECORD_BYTES)
    upper, lower, rows = records.view(">u8").astype(np.uint64).T
    order = np.lexsort((rows, lower, upper))
    upper, lower, rows = upper[order], lower[order], rows[order]
    repeats = np.zeros(len(rows), bool)
    repeats[1:] = (upper[1:] == upper[:-1]) & (lower[1:] == lower[:-1])
    return np.sort(rows[repeats].astype(np.int64))


def find_repeats(uids: Iterable[np.ndarray], rows: int, folder: Path) -> Path:
    """uids uint8[N, 16], block by block in input order -> a file in ``folder`` that `repeats_in` reads.

    ``rows`` is how many there are in all. While this runs the buckets are in ``folder`` too, `RECORD_BYTES` a row.
    """
    first_row = 0
    for block in uids:
        for bucket, records in split_buckets(pack_records(block, first_row), bucket_count(rows)):
            _append(folder / f"{bucket}.records", records)
        first_row += len(block)
    path = folder / "repeats"
    # Written out before it is mapped: on a full disk a write fails, but a map's first touch ends the process.
    _append(path, np.zeros(-(-rows // 8), np.uint8).data)
    bits = np.memmap(path, np.uint8, "r+")
    for records_of_bucket in sorted(folder.glob("*.records")):
        found = find_duplicates([records_of_bucket.read_bytes()])
        np.bitwise_or.at(bits, found >> 3, (128 >> (found & 7)).astype(np.uint8))
        records_of_bucket.unlink()
    bits.flush()
    return path


def _append(path: Path, data: bytes | memoryview) -> None:
    try:
        with path.open("ab") as stream:
            stream.write(data)
    except OSError as error:
        raise ClipsieveError(
            f"{path.parent}: cannot be written: {error.strerror}; make room there, or set TMPDIR to where there is some"
        ) from error


def repeats_in(path: Path, start: int, count: int) -> np.ndarray:
    """int64[D]: which of ``count`` rows from row ``start`` on repeat an earlier row's uid, counted from ``start``."""
    bits = np.memmap(path, np.uint8, "r")[start // 8 : -(-(start + count) // 8)]
    return np.flatnonzero(np.unpackbits(bits)[start % 8 :][:count])
