"""The whole job over files: exact members, one answer for every split and worker count, DataComp's npy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import select
from pipelines.scored import read_scored
from schemas import tables
from schemas.errors import InputError
from schemas.recipe import SelectOptions
from schemas.uid import from_u64_pairs, uid_strings

IN_PROCESS = ["--runner=FnApiRunner"]
ROWS = 1_003
UIDS = np.array([hashlib.md5(str(row).encode()).hexdigest() for row in range(ROWS)])
# fp16 scores, as older tools stored them: many ties.
SIMILARITY = np.random.default_rng(0).normal(0.25, 0.05, ROWS).astype(np.float16).astype(np.float32)
OPTIONS = SelectOptions(fractions=(20, 33.33, 100), sizes=(250, 40), seed=5)


def write_scores(folder: Path, splits: Sequence[int] = (400, 401), **changes) -> Path:
    folder.mkdir()
    for index, rows in enumerate(np.split(np.arange(ROWS), splits)):
        columns = {"uid": UIDS[rows], "similarity": SIMILARITY[rows]} | changes
        pq.write_table(pa.table(columns), folder / f"{index:05d}.parquet")
    return folder


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    manifest = select.run(str(write_scores(run / "scores")), str(run), OPTIONS, IN_PROCESS)
    assert manifest.counts == {"pairs": ROWS, "eligible": ROWS}
    return run


def uids_in(path: Path) -> list[str]:
    return tables.read_table(str(path), tables.SUBSET)["uid"].to_pylist()


def test_subsets_and_samples_are_exact(selected: Path) -> None:
    order = np.lexsort((UIDS, -SIMILARITY))
    for name, count in (("top20", 200), ("top33.33", 334), ("top100", ROWS)):
        assert set(uids_in(selected / "subsets" / f"{name}.parquet")) == set(UIDS[order[:count]])
    small, large = (set(uids_in(selected / "samples" / f"{size}.parquet")) for size in (40, 250))
    assert len(small) == 40 and len(large) == 250 and small < large
    strata = np.array_split(order, 20)
    assert [len(large & set(UIDS[stratum])) for stratum in strata] == [13] * 10 + [12] * 10
    counts = json.loads((selected / "samples" / "manifest.json").read_text())["counts"]
    assert counts == {"40": 40, "250": 250}


def test_npy_is_datacomps_sorted_u64_pairs(selected: Path) -> None:
    subset = np.load(selected / "subsets" / "top20.npy")
    assert subset.dtype == np.dtype("u8,u8") and np.array_equal(subset, np.sort(subset))
    by_hand = sorted((int(uid[:16], 16), int(uid[16:], 16)) for uid in uids_in(selected / "subsets" / "top20.parquet"))
    assert subset.tolist() == by_hand
    # The resharder's membership test: a bisection of the memory-mapped file.
    mapped = np.load(selected / "subsets" / "top20.npy", mmap_mode="r")
    place = np.searchsorted(mapped, np.array(by_hand[7], np.dtype("u8,u8")))
    assert mapped[place].tolist() == by_hand[7]
    assert uid_strings(from_u64_pairs(subset)) == sorted(uids_in(selected / "subsets" / "top20.parquet"))


def test_selection_keeps_every_pair_and_its_place(selected: Path) -> None:
    pieces = sorted((selected / "selection").glob("*.parquet"))
    assert [path.name for path in pieces] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    table = pa.concat_tables(tables.read_table(str(path), tables.SELECTION) for path in pieces)
    assert table["uid"].to_pylist() == UIDS.tolist()
    assert np.array_equal(table["similarity"].to_numpy(), SIMILARITY)
    assert table["reject_reason"].null_count == table["duplicate_of"].null_count == ROWS
    ranks = table["quantile_rank"].to_numpy()
    assert set(UIDS[ranks < 200 / ROWS]) == set(uids_in(selected / "subsets" / "top20.parquet"))
    digest = hashlib.sha256(f"5:{UIDS[0]}".encode()).digest()[:8]
    assert table["sample_rank"][0].as_py() == pytest.approx(int.from_bytes(digest, "big") / 2**64, abs=1e-15)


def test_files_and_workers_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "FILES_PER_WORKER", 1)
    one, many = tmp_path / "one", tmp_path / "many"
    select.run(str(write_scores(tmp_path / "a", splits=())), str(one), OPTIONS, IN_PROCESS)
    select.run(str(write_scores(tmp_path / "b", splits=(1, 500, 501))), str(many), OPTIONS)
    for folder in ("subsets", "samples"):
        for path in sorted((one / folder).glob("*.[np]*")):
            other = many / folder / path.name
            if path.suffix == ".npy":
                assert path.read_bytes() == other.read_bytes()
            elif path.suffix == ".parquet":
                assert pq.read_table(path).equals(pq.read_table(other))


def test_a_second_run_changes_nothing(selected: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in selected.rglob("*") if path.is_file()}
    again = select.run(str(selected / "scores"), str(selected), OPTIONS, IN_PROCESS)
    assert again.complete and again.counts["pairs"] == ROWS
    assert kept == {path: path.stat().st_mtime_ns for path in selected.rglob("*") if path.is_file()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_similarities_that_are_no_numbers_are_counted(tmp_path: Path, value: float | None) -> None:
    path = tmp_path / "00001.parquet"
    pq.write_table(pa.table({"uid": UIDS[:3], "similarity": pa.array([0.1, value, value], pa.float32())}), path)
    with pytest.raises(InputError, match=r"00001\.parquet: 2 similarities are not finite numbers, the first in row 2"):
        list(read_scored(str(path)))


@pytest.mark.parametrize("uid", ["xyz", "AB" * 16, "ab" * 17, None])
def test_what_is_no_uid_is_named(tmp_path: Path, uid: str | None) -> None:
    path = tmp_path / "00001.parquet"
    pq.write_table(pa.table({"uid": ["ab" * 16, uid], "similarity": [0.1, 0.2]}), path)
    with pytest.raises(InputError, match=r"00001\.parquet: 1 uids are not 32 hex digits, the first in row 2"):
        list(read_scored(str(path)))


def test_a_refused_pool_leaves_the_folder_free(tmp_path: Path) -> None:
    scores = str(write_scores(tmp_path / "scores"))
    with pytest.raises(InputError, match=r"a sample of 1004 pairs cannot be drawn from 1,003 eligible pairs"):
        select.run(scores, str(tmp_path), SelectOptions(sizes=(ROWS + 1,)), IN_PROCESS)
    assert not (tmp_path / "selection" / "manifest.json").exists()
    select.run(scores, str(tmp_path), SelectOptions(fractions=(50,)), IN_PROCESS)
    assert (tmp_path / "subsets" / "top50.npy").exists() and not (tmp_path / "samples" / "1004.npy").exists()


def test_a_uid_in_two_files_is_refused(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    pq.write_table(pa.table({"uid": UIDS[:1], "similarity": [0.9]}), scores / "00009.parquet")
    with pytest.raises(InputError, match=f"uid {UIDS[0]} stands twice"):
        select.run(str(scores), str(tmp_path), OPTIONS, IN_PROCESS)


def test_a_missing_column_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores \(\*\.parquet\) in this folder"):
        select.run(str(tmp_path / "nowhere"), str(tmp_path), OPTIONS, IN_PROCESS)
    scores = write_scores(tmp_path / "scores")
    pq.write_table(pa.table({"uid": UIDS}), scores / "00000.parquet")
    with pytest.raises(InputError, match=r"00000\.parquet: column 'similarity' is missing"):
        select.run(str(scores), str(tmp_path), OPTIONS, IN_PROCESS)
