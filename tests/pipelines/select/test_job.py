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

from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.select import plan as selection
from clipsieve.pipelines.select import scans, thresholds
from clipsieve.pipelines.select.plan import SelectionPlan
from clipsieve.pipelines.select.scored import Sources
from clipsieve.pipelines.verify.selection import check_samples, check_selection, check_subsets
from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import SelectOptions
from clipsieve.schemas.uid import from_u64_pairs, uid_strings

IN_PROCESS = ["--runner=FnApiRunner"]
ROWS = 1_003
UIDS = np.array([hashlib.md5(str(row).encode()).hexdigest() for row in range(ROWS)])
# fp16 scores, as older tools stored them: many ties.
SIMILARITY = np.random.default_rng(0).normal(0.25, 0.05, ROWS).astype(np.float16).astype(np.float32)
OPTIONS = SelectOptions(fractions=(20, 33.33, 100), sizes=(250, 40), combinations=("top50_60",), seed=5)


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
    assert manifest.counts.shown == {"pairs": ROWS, "eligible": ROWS}
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
    assert counts == {"40": 40, "250": 250, "top50_60": 60}
    best = np.array_split(order[:501], 20)
    within = set(uids_in(selected / "samples" / "top50_60.parquet"))
    assert [len(within & set(UIDS[stratum])) for stratum in best] == [3] * 20


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
    _, ranked = check_selection(str(selected / "selection"), str(selected / "scores"))
    assert check_subsets(str(selected / "subsets"), ranked) and check_samples(str(selected / "samples"), ranked)


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
    assert again.complete and again.counts.shown["pairs"] == ROWS
    assert kept == {path: path.stat().st_mtime_ns for path in selected.rglob("*") if path.is_file()}


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
    with pytest.raises(InputError, match=f"uid {UIDS[0]} is duplicated"):
        select.run(str(scores), str(tmp_path), OPTIONS, IN_PROCESS)


def test_a_missing_column_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores \(\*\.parquet\) in this folder"):
        select.run(str(tmp_path / "nowhere"), str(tmp_path), OPTIONS, IN_PROCESS)
    scores = write_scores(tmp_path / "scores")
    pq.write_table(pa.table({"uid": UIDS}), scores / "00000.parquet")
    with pytest.raises(InputError, match=r"00000\.parquet: column 'similarity' is missing"):
        select.run(str(scores), str(tmp_path), OPTIONS, IN_PROCESS)


def test_a_datacomp_metadata_folder_selects_directly(tmp_path: Path) -> None:
    """Its own columns, some of them fp64 or missing here and there, and a condition on them."""
    metadata, rng = tmp_path / "metadata", np.random.default_rng(1)
    metadata.mkdir()
    width = rng.integers(100, 500, ROWS)
    table = pa.table(
        {
            "uid": UIDS,
            "url": [f"https://example.org/{row}.jpg" for row in range(ROWS)],
            "text": ["a caption"] * ROWS,
            "original_width": width.astype(np.int64),
            "original_height": np.full(ROWS, 300),
            "clip_b32_similarity_score": pa.array(SIMILARITY, mask=width < 110),
            "clip_l14_similarity_score": SIMILARITY[::-1].astype(np.float64),
        }
    )
    pq.write_table(table, metadata / "0a1b.parquet")
    options = SelectOptions(
        fractions=(30,),
        score_column="clip_b32_similarity_score",
        where="original_width >= 200 and original_height <= 300",
    )
    counts = select.run(str(metadata / "0a1b.parquet"), str(tmp_path), options, IN_PROCESS).counts.shown
    large = np.flatnonzero(width >= 200)
    assert counts == {"pairs": ROWS, "eligible": len(large), "where": ROWS - len(large)}
    order = large[np.lexsort((UIDS[large], -SIMILARITY[large]))]
    assert set(uids_in(tmp_path / "subsets" / "top30.parquet")) == set(UIDS[order[: len(large) * 30 // 100]])
    check_selection(str(tmp_path / "selection"), str(metadata))


def write_beside(folder: Path, column: str, values: np.ndarray, uids: np.ndarray = UIDS) -> Path:
    """A file for each of `write_scores`, in small row groups; an empty value is null."""
    folder.mkdir()
    for index, rows in enumerate(np.split(np.arange(ROWS), (400, 401))):
        column_values = pa.array([value or None for value in values[rows].tolist()], pa.string())
        data = pa.table({"uid": uids[rows], column: column_values})
        pq.write_table(data, folder / f"{index:05d}.parquet", row_group_size=37)
    return folder


def test_what_filters_and_dedup_found_is_not_eligible(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    reasons, kept = (rng.choice(values, ROWS) for values in (["", "", "small", "language"], ["", "", "ab" * 16]))
    filters = write_beside(tmp_path / "filters", "reject_reason", reasons)
    dedup = write_beside(tmp_path / "dedup", "duplicate_of", kept)
    scores = write_scores(tmp_path / "scores")
    options = SelectOptions(fractions=(25,), sizes=(40,), seed=1)
    found = {"filters": str(filters), "dedup": str(dedup)}
    done = select.run(str(scores), str(tmp_path), options, IN_PROCESS, **found)
    free = np.flatnonzero((reasons == "") & (kept == ""))
    assert done.counts.shown == {
        "pairs": ROWS,
        "eligible": len(free),
        "duplicates": int(((reasons == "") & (kept != "")).sum()),
        "language": int((reasons == "language").sum()),
        "small": int((reasons == "small").sum()),
    }
    assert sorted(done.inputs) == ["dedup", "filters", "scores"]
    pieces = sorted((tmp_path / "selection").glob("*.parquet"))
    table = pa.concat_tables(tables.read_table(str(path), tables.SELECTION) for path in pieces)
    assert [value or "" for value in table["reject_reason"].to_pylist()] == reasons.tolist()
    assert [value or "" for value in table["duplicate_of"].to_pylist()] == kept.tolist()
    order = free[np.lexsort((UIDS[free], -SIMILARITY[free]))]
    assert set(uids_in(tmp_path / "subsets" / "top25.parquet")) == set(UIDS[order[: len(free) // 4]])
    _, ranked = check_selection(str(tmp_path / "selection"), str(scores))
    check_samples(str(tmp_path / "samples"), ranked)


def test_masks_alone_and_the_subsets_later(tmp_path: Path, selected: Path) -> None:
    """The same table as with subsets; requested later, they are the same too."""
    scores = str(selected / "scores")
    select.run(scores, str(tmp_path), OPTIONS.model_copy(update={"subsets": False}), IN_PROCESS)
    assert {path.name for path in tmp_path.iterdir()} == {"selection"}
    select.run(scores, str(tmp_path), OPTIONS, IN_PROCESS)
    for folder in ("selection", "subsets", "samples"):
        digests = {json.loads((run / folder / "manifest.json").read_text())["digest"] for run in (tmp_path, selected)}
        assert len(digests) == 1


def select_without_beam(scores: Path, out: Path, options: SelectOptions) -> None:
    """What the job does, as a plain loop."""
    paths, plan = [str(path) for path in sorted(scores.glob("*.parquet"))], SelectionPlan(options)
    for _ in range(selection.most_scans(options)):
        plan = selection.advance(plan, thresholds.add(scans.count_file(path, plan, Sources()) for path in paths))
    selected = [select.write_selection(path, plan, str(out / "selection"), Sources()) for path in paths]
    for subset in selection.subsets_of(options):
        list(select.write_subset(subset, plan, selected, str(out)))


def test_adversarial_pools_are_cut_as_numpy_sorts_them(tmp_path: Path) -> None:
    """Through files: ties throughout, denormals and both zeros, sorted, reversed, the largest numbers there are."""
    rng = np.random.default_rng(3)
    pools = {
        "ties": np.full(ROWS, 0.25),
        "zeros": rng.choice([0.0, -0.0, 1e-45, -1e-45, 1.17e-38], ROWS),
        "sorted": np.sort(SIMILARITY),
        "reversed": np.sort(SIMILARITY)[::-1],
        "extremes": rng.choice([3.4e38, -3.4e38, 0.3], ROWS),
    }
    options = SelectOptions(fractions=(0.01, 40, 99.99), sizes=(100, ROWS), combinations=("top0.5_5",))
    for name, values in pools.items():
        similarity, out = values.astype(np.float32), tmp_path / name
        (out / "scores").mkdir(parents=True)
        for index, rows in enumerate(np.array_split(rng.permutation(ROWS), 3)):
            data = pa.table({"uid": UIDS[rows], "similarity": similarity[rows]})
            pq.write_table(data, out / "scores" / f"{index:05d}.parquet")
        select_without_beam(out / "scores", out, options)
        order = np.lexsort((UIDS, -similarity))
        for subset, count in (("top0.01", 0), ("top40", 401), ("top99.99", 1002)):
            members = uid_strings(from_u64_pairs(np.load(out / "subsets" / f"{subset}.npy")))
            assert members == sorted(UIDS[order[:count]])
            assert sorted(uids_in(out / "subsets" / f"{subset}.parquet")) == members
        assert sorted(uids_in(out / "samples" / "top0.5_5.parquet")) == sorted(UIDS[order[:5]])
        assert len(set(uids_in(out / "samples" / "100.parquet"))) == 100
        assert sorted(uids_in(out / "samples" / "1003.parquet")) == sorted(UIDS)


def test_members_of_all_lists_alone_are_eligible(tmp_path: Path) -> None:
    """A published list, and another, as subset files; the best 40% are those of a pool of just these pairs."""
    scores = write_scores(tmp_path / "scores")
    first, second = np.arange(ROWS) % 2 == 0, np.arange(ROWS) % 3 == 0
    lists = [str(tmp_path / "first.txt"), str(tmp_path / "second.parquet")]
    Path(lists[0]).write_text("".join(f"{uid}\n" for uid in UIDS[first]))
    pq.write_table(pa.table({"uid": UIDS[second]}), lists[1])
    options = SelectOptions(fractions=(40,))
    made = select.run(str(scores), str(tmp_path / "run"), options, IN_PROCESS, members=lists)
    both = first & second
    assert made.counts.shown == {"pairs": ROWS, "eligible": both.sum(), "missing": 0, "not_a_member": (~both).sum()}
    order = np.lexsort((UIDS[both], -SIMILARITY[both]))
    chosen = UIDS[both][order[: both.sum() * 40 // 100]]
    assert set(uids_in(tmp_path / "run" / "subsets" / "top40.parquet")) == set(chosen)
    check_selection(str(tmp_path / "run" / "selection"), str(scores))


def test_members_that_the_scores_lack_are_refused_or_counted(tmp_path: Path) -> None:
    scores, listed = write_scores(tmp_path / "scores"), tmp_path / "list.txt"
    listed.write_text("".join(f"{uid}\n" for uid in [*UIDS[:100], "0" * 32, "f" * 32]))
    run, options = str(tmp_path / "run"), SelectOptions(fractions=(50,))
    with pytest.raises(InputError, match=r"2 of the 102 members are not among the scores; `allow_missing` selects"):
        select.run(str(scores), run, options, IN_PROCESS, members=[str(listed)])
    allowed = options.model_copy(update={"allow_missing": True})
    made = select.run(str(scores), run, allowed, IN_PROCESS, members=[str(listed)])
    assert made.counts.shown == {"pairs": ROWS, "eligible": 100, "missing": 2, "not_a_member": ROWS - 100}
    assert not list((tmp_path / "run" / "selection").glob("*.npy"))
