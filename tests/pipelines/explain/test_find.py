"""What a run's folders say of one pair, against a plain reading of each of them."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.explain import find as explain
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import uid_of
from tests.pipelines.whole_run import MISSING, PAIRS, Run, write_model


@pytest.fixture(autouse=True)
def temporary_files_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def rows_of(folder: Path, uid: str) -> list[dict]:
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [{name: value for name, value in row.items() if value is not None} for row in rows if row["uid"] == uid]


@pytest.mark.parametrize("row", [1, 5, 8, 12, 27, 33])
def test_it_says_what_each_folder_says(whole_run: Run, row: int) -> None:
    uid, folder = whole_run.uid(row), whole_run.folder
    told = explain.run(uid, str(folder))
    assert [found.values for found in told.shards] == rows_of(folder / "shards", uid)
    judged = [
        values
        for name in ("scores", "drift", "filters", "dedup", "selection")
        for values in rows_of(folder / name, uid)
    ]
    assert [found.values for found in told.judged] == judged
    resharded = [values for name in ("10", "top80") for values in rows_of(folder / "resharded" / name, uid)]
    assert [found.values for found in told.resharded] == resharded
    holding = [f"{p.parent.name}/{p.stem}" for p in sorted(folder.glob("s*/*.parquet")) if p.stem.strip("0123") != ""]
    expected = {name for name in [*holding, "samples/10"] if rows_of_file(folder / f"{name}.parquet", uid)}
    assert set(told.members_of) == expected
    for found in (*told.shards, *told.judged):
        assert pq.read_table(found.path)["uid"][found.row - 1].as_py() == uid


def rows_of_file(path: Path, uid: str) -> bool:
    return uid in pq.read_table(path, columns=["uid"])["uid"].to_pylist()


def test_each_subset_and_sample_is_found_for_all_its_members(whole_run: Run) -> None:
    for name in ("subsets/top40", "samples/10", "samples/top80_12"):
        for uid in pq.read_table(whole_run.folder / f"{name}.parquet")["uid"].to_pylist():
            assert name in explain.run(uid, str(whole_run.folder)).members_of


def test_the_picture_is_the_stored_one(whole_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "picture.jpg"
    told = explain.run(whole_run.uid(33), str(whole_run.folder), str(out))
    (row,) = told.shards
    with tarfile.open(row.path.replace(".parquet", ".tar")) as tar:
        stored = tar.extractfile(f"{row.values['key']}.jpg")
        assert stored is not None and out.read_bytes() == stored.read()
    assert told.image == str(out)
    elsewhere = explain.run(whole_run.uid(33), str(whole_run.folder)).image
    assert elsewhere is not None and Path(elsewhere).read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (8, "not downloaded: http_error 404"),
        (27, "not downloaded: http_error 503"),
        (1, "rejected: short"),
    ],
)
def test_the_verdict_is_why_it_came_no_further(whole_run: Run, row: int, verdict: str) -> None:
    assert explain.run(whole_run.uid(row), str(whole_run.folder)).verdict == verdict


def test_the_best_pair_is_in_every_subset(whole_run: Run) -> None:
    best = pq.read_table(whole_run.folder / "subsets" / "top40.parquet").sort_by([("quantile_rank", "ascending")])
    told = explain.run(best["uid"][0].as_py(), str(whole_run.folder))
    assert told.verdict.startswith("eligible, ") and told.verdict.endswith("; in top40, top80, 10, 25, top80_12")
    assert told.models == ("tokenizer", "all", "mixed", "top80")


def test_a_model_is_told_where_any_of_its_subsets_holds_the_pair(whole_run: Run) -> None:
    uids = {
        name: set(pq.read_table(whole_run.folder / f"{name}.parquet")["uid"].to_pylist())
        for name in ("subsets/top40", "subsets/top80", "samples/10")
    }
    for uid in uids["subsets/top80"] | uids["samples/10"]:
        models = explain.run(uid, str(whole_run.folder)).models
        assert ("mixed" in models) == (uid in uids["subsets/top40"] | uids["samples/10"])
        assert ("top80" in models) == (uid in uids["subsets/top80"])
    assert uids["subsets/top80"] - uids["subsets/top40"] - uids["samples/10"]


def test_a_model_of_a_resharded_folder_is_told_for_its_pairs_alone(whole_run: Run, tmp_path: Path) -> None:
    run = whole_run.copy(tmp_path)
    write_model(run.folder / "models" / "resharded", str(run.folder / "resharded" / "10"))
    inside = set(pq.read_table(run.folder / "samples" / "10.parquet")["uid"].to_pylist())
    for row in range(0, PAIRS, 3):
        told = explain.run(run.uid(row), str(run.folder))
        assert ("resharded" in told.models) == (run.uid(row) in inside)


def test_what_was_not_downloaded_was_not_learnt_from(whole_run: Run) -> None:
    assert explain.run(whole_run.uid(8), str(whole_run.folder)).models == ()


def test_of_a_duplicate_the_kept_pair_is_told(whole_run: Run, tmp_path: Path) -> None:
    run = whole_run.copy(tmp_path)
    path = run.folder / "selection" / "00000.parquet"
    rows = pq.read_table(path).to_pylist()
    row = next(row for row in rows if row["uid"] == run.uid(12))
    row |= {"duplicate_of": run.uid(40), "quantile_rank": None}
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    told = explain.run(run.uid(12), str(run.folder))
    assert told.verdict == f"a duplicate: {run.uid(40)} is kept instead"
    assert [found.values["url"] for found in told.kept] == [run.urls[40]]


def test_shards_of_others_are_read_too(make_shards, tmp_path: Path) -> None:
    """img2dataset's have neither uid nor offsets."""
    folder = make_shards([3, 2], failed=[1], foreign=True)
    row = pq.read_table(folder / "00001.parquet").to_pylist()[1]
    uid = uid_of(row["url"], row["caption"])
    told = explain.run(uid, str(folder.parent), str(tmp_path / "p.jpg"))
    assert (told.shards[0].row, told.verdict) == (2, "downloaded, and not scored")
    with tarfile.open(folder / "00001.tar") as tar:
        stored = tar.extractfile(f"{row['key']}.jpg")
        assert stored is not None and (tmp_path / "p.jpg").read_bytes() == stored.read()


def test_the_terminal_shows_it_all(whole_run: Run, tmp_path: Path, command, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "p.jpg"
    ended = command("explain", whole_run.uid(33), "--run", whole_run.folder, "--image-out", out)
    assert ended.status == 0, ended.err
    for words in (whole_run.urls[33], whole_run.caption(33), "similarity", "quantile_rank", "tar_offset", str(out)):
        assert words in ended.out
    assert io.BytesIO(out.read_bytes()).read(3) == b"\xff\xd8\xff"


def test_an_unknown_or_wrong_uid_is_one_line(whole_run: Run, tmp_path: Path, command) -> None:
    for uid, folder, message in (
        ("f" * 32, whole_run.folder, f"holds no pair of uid {'f' * 32}"),
        ("F" * 32, whole_run.folder, "is not a uid (32 hex digits, in lower case)"),
        ("0" * 32, tmp_path, "neither shards nor another folder of a run"),
    ):
        ended = command("explain", uid, "--run", folder)
        assert (ended.status, ended.out) == (2, "") and message in ended.err and ended.err.count("\n") == 1


def test_every_pair_of_the_input_is_explained(whole_run: Run) -> None:
    told = [explain.run(whole_run.uid(row), str(whole_run.folder)) for row in range(0, PAIRS, 7)]
    assert all(each.verdict for each in told)
    assert [each.image is None for each in told] == [row in MISSING | {27} for row in range(0, PAIRS, 7)]


def test_a_tar_that_is_another_is_refused(whole_run: Run, tmp_path: Path) -> None:
    run = whole_run.copy(tmp_path)
    shutil.copy(run.folder / "shards" / "00001.tar", run.folder / "shards" / "00000.tar")
    with pytest.raises(InputError, match=r"00000\.tar: "):
        explain.run(run.uid(12), str(run.folder))
