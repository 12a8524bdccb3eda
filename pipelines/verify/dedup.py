"""Dedup: each pair is kept, or repeats one that is kept and no worse, or an image of a task; counts add up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, expect_parts, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import UID_PATTERN, uid_bytes


def check_dedup(folder: str, scores: str) -> Check:
    """What `dedup` wrote; held against the folder ``scores`` where that is there. Holds some 60 bytes a pair."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    paths = files.list_files(folder, ".parquet")
    read = [(path, tables.read_table(path, tables.DEDUP)) for path in paths]
    similarity = [_scored(path, rows, scores) for path, rows in read]
    kept = np.concatenate([_kept(rows, score) for (_, rows), score in zip(read, similarity, strict=True)])
    kept.sort(order="uid")
    counts: Counter[str] = Counter()
    gone = 0
    for (path, rows), score in zip(read, similarity, strict=True):
        methods = rows["method"].to_pylist()
        whole = pc.equal(rows["duplicate_of"].is_null(), rows["method"].is_null())
        expect(pc.all(whole, min_count=0).as_py(), f"{path}: a row has one of duplicate_of and method, not both")
        counts.update(method for method in methods if method)
        is_of_pair = pc.fill_null(pc.match_substring_regex(rows["duplicate_of"], f"^{UID_PATTERN.pattern}$"), False)
        counts["contaminated"] += rows["duplicate_of"].length() - rows["duplicate_of"].null_count
        counts["contaminated"] -= pc.sum(is_of_pair, min_count=0).as_py()
        gone += _check_repeats(path, rows.filter(is_of_pair), score[is_of_pair.to_numpy()], kept, found)
    pairs = sum(len(rows) for _, rows in read)
    counts |= Counter(pairs=pairs, kept=len(kept))
    wrong = [name for name, count in found.counts.shown.items() if counts[name] != count]
    expect(not wrong, f"{folder}: its manifest counts other {', '.join(wrong)} than its files hold")
    since = f"; {gone:,} repeat a pair that was taken down since" if gone else ""
    return Check(
        "dedup", f"{pairs:,} pairs, {len(kept):,} kept, the others repeat a kept one that scores no worse{since}"
    )


def _scored(path: str, rows: pa.Table, scores: str) -> np.ndarray:
    """float32[N]: the similarity of each row's pair; zeros where there are no scores to compare with."""
    scored = files.join(scores, files.name_of(path))
    if not files.exists(scored):
        return np.zeros(len(rows), np.float32)
    table = tables.read_table(scored, tables.SCORES, ["uid", "similarity"])
    expect_equal(rows["uid"].to_pylist(), table["uid"].to_pylist(), path, "the scored pair's uid")
    return np.asarray(table["similarity"].to_numpy())


def _kept(rows: pa.Table, similarity: np.ndarray) -> np.ndarray:
    """(uid, similarity)[K] of the rows that are kept."""
    is_kept = rows["duplicate_of"].is_null().to_numpy()
    kept = np.zeros(int(is_kept.sum()), [("uid", "S16"), ("similarity", "f4")])
    kept["uid"], kept["similarity"] = as_strings(uid_bytes(rows["uid"]))[is_kept], similarity[is_kept]
    return kept


def _check_repeats(path: str, rows: pa.Table, similarity: np.ndarray, kept: np.ndarray, found: Manifest) -> int:
    """Each row's duplicate_of is a kept pair that scores no worse; returns how many are there no more."""
    named = as_strings(uid_bytes(rows["duplicate_of"]))
    place = np.searchsorted(kept["uid"], named)
    is_there = (
        (place < len(kept)) & (kept["uid"][np.minimum(place, len(kept) - 1)] == named) if len(kept) else named < b""
    )
    absent = rows["duplicate_of"].filter(pa.array(~is_there)).to_pylist()
    named_first = next(iter(absent), None)
    expect(not absent or bool(found.takedowns), f"{path}: duplicate_of {named_first} is not a pair that is kept")
    worse = kept["similarity"][place[is_there]] < similarity[is_there]
    expect(not worse.any(), f"{path}: {int(worse.sum())} pairs score better than the one kept in their stead")
    return len(absent)
