"""The downloaded pairs as drift compares them: some 100 bytes of each, from the shards' tables and score files."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from clipsieve.pipelines.shards.rows import read_rows
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.text_buffers import text_bytes
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import uid_bytes, uid_of

_DIGITS = 16
"""Hex digits that are held of a hash: 64 bits."""


@dataclass(frozen=True)
class DownloadedPairs:
    """N downloaded pairs, in the order of files and rows."""

    uids: pa.ChunkedArray
    """string[N]"""
    keys: np.ndarray
    """bytes S16[N]: what the published table knows the pair by."""
    sizes: np.ndarray
    """int32[N, 2]: width and height as downloaded; 0 where not known."""
    sha256: np.ndarray
    """uint64[N]: the digest's first bits; 0 where not known."""
    phash: np.ndarray
    """uint64[N]; 0 where not known."""
    urls: np.ndarray
    """uint64[N]: a hash of the URL."""
    hosts: pa.ChunkedArray
    """dictionary<string>[N]; null where a URL has none."""
    similarities: np.ndarray
    """float32[N, R]: under each reference that is compared; NaN where there is none."""

    def __len__(self) -> int:
        return len(self.keys)


def read_pairs(
    shards: str, scores: str | None, by_url: bool, similarities: Sequence[str]
) -> tuple[list[tuple[str, int]], DownloadedPairs]:
    """The pairs of the score files in ``scores``, or, without, those of the shards that have an image.

    Returns the names of the files, each with its number of pairs, too. ``by_url``: the published table has no uids, so
    that a pair is known by its URL and caption. ``similarities`` are the scores' columns that are compared. Raises
    InputError for a scored pair that is not in the shard of its file's name.
    """
    names = [files.name_of(path) for path in files.list_files(scores, ".parquet")] if scores else []
    if scores and not names:
        raise InputError(f"{scores}: no scores (*.parquet) in this folder")
    names = names or [f"{shard}.parquet" for shard in list_shards(shards)]
    parts = list(map_ahead(lambda name: _read(shards, scores, name, by_url, similarities), names))
    arrays = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in ("keys", "sizes", "sha256", "phash", "urls", "similarities")
    }
    uids = pa.chunked_array([part.uids.combine_chunks() for part in parts])
    hosts = pa.chunked_array([part.hosts.combine_chunks() for part in parts]).unify_dictionaries()
    counted = [(name, len(part)) for name, part in zip(names, parts, strict=True)]
    return counted, DownloadedPairs(uids=uids, hosts=hosts, **arrays)


def _read(shards: str, scores: str | None, name: str, by_url: bool, similarities: Sequence[str]) -> DownloadedPairs:
    """The pairs of one file."""
    rows, path = read_rows(shards, name.removesuffix(".parquet")), files.join(shards, name)
    scored = None
    if scores:
        path = files.join(scores, name)
        scored = tables.read_table(path, tables.SCORES, ["uid", *similarities])
        places = pc.index_in(scored["uid"], value_set=rows["uid"].combine_chunks())
        if places.null_count:
            row = pc.index(pc.is_null(places), True).as_py() + 1
            raise InputError(f"{path}: row {row}: its uid is not in {files.join(shards, name)}; score these shards")
        rows = rows.take(places)
    urls = _texts(rows, "url")
    hosts = pa.array([host_of(url) for url in urls], pa.string())
    return DownloadedPairs(
        uids=pa.chunked_array([rows["uid"].combine_chunks().cast(pa.string())]),
        keys=_keys(rows, urls, path, by_url),
        sizes=np.stack([sizes_in(rows, side, path) for side in ("original_width", "original_height")], axis=1),
        sha256=hash_bits(rows, "sha256", 64, path),
        phash=hash_bits(rows, "phash", 16, path),
        urls=np.fromiter(
            (xxhash.xxh3_64_intdigest(url.encode("utf-8", "surrogatepass")) for url in urls), np.uint64, len(urls)
        ),
        hosts=pa.chunked_array([hosts.dictionary_encode()]),
        similarities=numbers_in(scored, similarities, path) if scored else np.zeros((len(rows), 0), np.float32),
    )


def _keys(rows: pa.Table, urls: Sequence[str], path: str, by_url: bool) -> np.ndarray:
    """bytes S16[N]: the uids, or, ``by_url``, the ones that follow from URL and caption."""
    uids = rows["uid"]
    if by_url:
        tables.check_columns(rows.schema, tables.SHARDS, path, ["url", "caption"])
        uids = pa.array(map(uid_of, urls, _texts(rows, "caption")), pa.string())
    return keys_of(uids, path)


def keys_of(uids: pa.Array | pa.ChunkedArray, path: str) -> np.ndarray:
    """uids string[N] -> bytes S16[N]; InputError for what is no uid."""
    try:
        return as_strings(uid_bytes(uids))
    except ValueError as error:
        raise InputError(f"{path}: column 'uid' holds a value that is not 32 hex digits") from error


def hash_bits(rows: pa.Table, name: str, digits: int, path: str) -> np.ndarray:
    """uint64[N]: the first 64 bits of the hashes of ``digits`` hex digits in a column; 0 where there are none."""
    found = np.zeros(len(rows), np.uint64)
    if name not in rows.schema.names:
        return found
    column = rows[name].combine_chunks().cast(pa.string())
    is_there = pc.fill_null(pc.not_equal(column, ""), False)
    hashes = column.filter(is_there)
    if not pc.all(pc.match_substring_regex(hashes, f"^[0-9a-fA-F]{{{digits}}}$"), min_count=0).as_py():
        raise InputError(f"{path}: column {name!r} holds a value that is not {digits} hex digits")
    raw = binascii.unhexlify(text_bytes(pc.utf8_slice_codeunits(hashes, 0, _DIGITS)))
    found[is_there.to_numpy(zero_copy_only=False)] = np.frombuffer(raw, ">u8")
    return found


def sizes_in(rows: pa.Table, name: str | None, path: str) -> np.ndarray:
    """int32[N]: a column of sizes in pixels; 0 where there is none, or one that is not positive."""
    if name is None or name not in rows.schema.names:
        return np.zeros(len(rows), np.int32)
    values = numbers_in(rows, [name], path, np.float64)[:, 0]
    return np.where((values > 0) & (values < 2**31), values, 0).astype(np.int32)


def numbers_in(rows: pa.Table, names: Sequence[str], path: str, dtype: type = np.float32) -> np.ndarray:
    """[N, C]: columns of numbers; NaN where there is none."""
    found: np.ndarray = np.full((len(rows), len(names)), np.nan, dtype)
    for place, name in enumerate(names):
        try:
            column = rows[name].cast(pa.float64()).combine_chunks()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path}: column {name!r} is {rows[name].type}, not numbers") from error
        found[:, place] = column.to_numpy(zero_copy_only=False)
    return found


def _texts(rows: pa.Table, name: str) -> list[str]:
    if name not in rows.schema.names:
        return [""] * len(rows)
    return [text or "" for text in rows[name].to_pylist()]


def host_of(url: str) -> str | None:
    """The host of a URL, in lower case; None where it has none, or one that cannot be shown."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return None
    return host if host and host.isprintable() else None
