"""Passes over what failed: added shards alone, each row's last try its end, the same bytes however often stopped."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.download.passes import plan_passes, retry_path, write_retry_table
from clipsieve.pipelines.pairs.table import open_pairs
from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.verify.pairs import check_pairs
from clipsieve.pipelines.verify.passes import check_passes
from clipsieve.pipelines.verify.shards import check_shards
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.counts import DownloadCounts, PassCounts
from clipsieve.schemas.errors import BudgetError, InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.options import DownloadOptions, ScoreOptions
from clipsieve.schemas.shards import list_shards

ONE_PROCESS = ("--runner=FnApiRunner",)
SHARD_SIZE = 4
PAGES = 14
TROUBLED = {
    1: Behaviour.TRUNCATED,
    2: Behaviour.NOT_FOUND,
    4: Behaviour.TRUNCATED,
    5: Behaviour.TRUNCATED,
    6: Behaviour.HTML,
    9: Behaviour.TRUNCATED,
    10: Behaviour.TRUNCATED,
    12: Behaviour.TRUNCATED,
}


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class Web:
    """Pages whose behaviour a test may change between two passes."""

    def __init__(self, base: str, pages: dict[str, Page], folder: Path) -> None:
        self.base, self.pages, self.pairs = base, pages, str(folder / "pairs.parquet")

    def set(self, behaviour: Behaviour, *numbers: int) -> None:
        for number in numbers:
            self.pages[f"/{number}.png"] = Page(png(number), behaviour)

    def options(self, **more) -> DownloadOptions:
        values = {"shard_size": SHARD_SIZE, "attempts": 1, "read_timeout": 2, **more}
        return DownloadOptions(**values, allow_hosts=(self.base.removeprefix("http://"),))

    def download(self, out: Path, retry: bool = False, **more) -> manifest.Manifest:
        return download.run(self.pairs, str(out), self.options(**more), ONE_PROCESS, retry_failed=retry)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """15 rows, the last a duplicate, of 14 pages of which six are cut off for now and two will stay as they are.

    The table has columns with names of ours, and one of a type of its own.
    """
    pages = {f"/{number}.png": Page(png(number), TROUBLED.get(number, Behaviour.OK)) for number in range(PAGES)}
    with serve(pages) as base:
        numbers = [*range(PAGES), 0]
        columns = {
            "URL": [f"{base}/{number}.png" for number in numbers],
            "TEXT": [f"thing {number}" for number in numbers],
            "width": numbers,
            "status": [f"s{number}" for number in numbers],
            "tags": [[str(number)] for number in numbers],
        }
        pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
        yield Web(base, pages, tmp_path)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the shards proper, with its time."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def contents(folder: Path) -> dict[str, object]:
    """Tars' bytes and tables' values, times aside."""
    tars = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    return tars | {path.name: tables.content_digest(str(path)) for path in folder.rglob("*.parquet")}


def rows_of(folder: Path, names: list[str]) -> list[dict]:
    return [row for name in names for row in pq.read_table(folder / f"{name}.parquet").to_pylist()]


def last_ends(folder: Path) -> dict[int, str]:
    """How each input row ended, by its number: the last shard that has it decides."""
    ended = {}
    for row in rows_of(folder, list_shards(str(folder))):
        ended[row["source_width"]] = row["error_class"] or "success"
    return ended


def check(out: Path, pairs: str) -> str:
    check_shards(str(out))
    check_pairs(pairs, str(out))
    return check_passes(str(out)).detail


def test_passes_by_hand(web: Web, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    first = web.download(out)
    assert first.counts.shown == {
        "rows": 15,
        "duplicates": 1,
        "success": 6,
        "failed_to_download": 7,
        "failed_to_resize": 1,
        "error_connection_error": 6,
        "error_http_error": 1,
        "error_not_an_image": 1,
    }
    before = state(out)

    web.set(Behaviour.OK, 1, 4, 5, 9)
    web.set(Behaviour.NOT_FOUND, 10)
    second = web.download(out, retry=True)
    assert {name: kept for name, kept in state(out).items() if name in before} == before
    assert list_shards(str(out)) == [f"{number:05d}" for number in range(6)]
    added = rows_of(out, ["00004", "00005"])
    assert [row["source_width"] for row in added] == [1, 4, 5, 9, 10, 12]
    assert [row["key"] for row in added] == ["000040", "000041", "000042", "000043", "000050", "000051"]
    assert [row["error_class"] for row in added] == [None] * 4 + ["http_error", "connection_error"]
    assert second.counts.shown == {
        "rows": 15,
        "duplicates": 1,
        "success": 10,
        "failed_to_download": 3,
        "failed_to_resize": 1,
        "error_connection_error": 1,
        "error_http_error": 2,
        "error_not_an_image": 1,
        "pass_1_rows": 6,
        "pass_1_success": 4,
    }
    assert check(out, web.pairs).startswith("4 rows, just those that failed in the end; each later pass")

    web.set(Behaviour.OK, 12)
    third = web.download(out, retry=True)
    assert [row["source_width"] for row in rows_of(out, ["00006"])] == [12]
    ended = last_ends(out)
    assert sorted(ended) == list(range(PAGES))
    assert [number for number, end in ended.items() if end != "success"] == [2, 6, 10]
    assert third.counted(DownloadCounts).success == 11
    assert third.counted(DownloadCounts).retries[1] == PassCounts(rows=1, success=1)
    assert [each.digest for each in third.earlier] == [first.digest, second.digest]
    check(out, web.pairs)


def test_a_retried_row_is_the_row_it_was(web: Web, tmp_path: Path) -> None:
    """Its columns, with their types, are those of its first try; the table of the pass is named like the input."""
    out = tmp_path / "shards"
    web.download(out)
    web.set(Behaviour.OK, *TROUBLED)
    web.download(out, retry=True)
    assert (
        pq.read_schema(out / "00004.parquet").remove_metadata()
        == pq.read_schema(out / "00000.parquet").remove_metadata()
    )
    tried = pq.read_schema(retry_path(str(out), 1))
    assert tried.names == ["uid", "URL", "TEXT", "width", "status", "tags"]
    first = {row["uid"]: row for row in rows_of(out, [f"{number:05d}" for number in range(4)])}
    given = ("uid", "url", "caption", "source_width", "source_status", "tags")
    for row in rows_of(out, ["00004", "00005"]):
        assert {name: row[name] for name in given} == {name: first[row["uid"]][name] for name in given}


def test_one_pass_equals_none_where_nothing_ever_failed_for_a_while(web: Web, tmp_path: Path) -> None:
    """The pairs downloaded by two passes are those of one download from a web that was always up."""
    web.download(tmp_path / "two")
    web.set(Behaviour.OK, *TROUBLED)
    web.download(tmp_path / "two", retry=True)
    web.set(Behaviour.HTML, 6)
    web.set(Behaviour.NOT_FOUND, 2)
    web.download(tmp_path / "one")

    def downloaded(folder: Path) -> dict[str, str]:
        rows = rows_of(folder, list_shards(str(folder)))
        return {row["uid"]: row["phash"] for row in rows if row["status"] == "success"}

    assert downloaded(tmp_path / "two") == downloaded(tmp_path / "one")


def as_killed(out: Path, complete: manifest.Manifest, lost: str) -> None:
    """Leave a folder as a pass does that is killed after some of its shards: the last opened manifest, a shard less."""
    manifest.reopen(str(out), complete, complete.recipe, complete.inputs)
    for path in out.glob(f"{lost}*"):
        path.unlink()
    (out / f".{lost}.tar.tmp.0").write_bytes(b"half a tar")
    (out / "_manifest" / ".dead_letters.parquet.tmp.0").write_bytes(b"half a table")


@pytest.mark.parametrize("retry", [True, False])
def test_a_killed_pass_goes_on_to_the_same_bytes(web: Web, tmp_path: Path, retry: bool) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = web.download(whole)
    web.set(Behaviour.OK, 1, 4, 5)
    done = web.download(whole, retry=True)
    shutil.copytree(whole, killed)
    as_killed(killed, first, "00005")
    resumed = web.download(killed, retry=retry)
    assert contents(killed) == contents(whole)
    assert (resumed.counts, resumed.digest) == (done.counts, done.digest)
    assert not list(killed.rglob(".*"))


def test_a_pass_killed_before_it_was_opened_begins_anew(web: Web, tmp_path: Path) -> None:
    """The table of the pass is there, the manifest is still that of a complete folder."""
    out = tmp_path / "shards"
    web.download(out)
    Path(retry_path(str(out), 1)).write_bytes(b"of a version that wrote it otherwise")
    assert web.download(out).complete and list_shards(str(out))[-1] == "00003"
    assert web.download(out, retry=True).counts.shown["pass_1_rows"] == 6


def test_where_nothing_may_pass_nothing_changes(web: Web, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    web.set(Behaviour.OK, *TROUBLED)
    web.set(Behaviour.NOT_FOUND, 3)
    done = web.download(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert web.download(out, retry=True) == done
    assert "there is nothing to retry" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_how_to_ask_may_change_and_what_to_make_may_not(web: Web, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    web.download(out)
    with pytest.raises(InputError, match=r"done with another recipe or input: `image_size` was 256, now 64\. "):
        web.download(out, retry=True, image_size=64, attempts=2)
    again = web.download(out, retry=True, attempts=2, read_timeout=1, total_timeout=3, concurrency=2, host_rate=100)
    assert (again.asked["attempts"], again.earlier[0].asked["attempts"]) == (2, 1)
    assert again.asked["host_rate"] == 100


def test_a_retry_needs_a_complete_download(web: Web, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with pytest.raises(InputError, match="nothing to retry before download is complete"):
        web.download(out, retry=True)
    assert read_manifest(str(out)) is None


def test_a_pass_can_bring_a_download_within_its_budget(web: Web, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with pytest.raises(BudgetError):
        web.download(out, max_failure_share=0.5)
    web.set(Behaviour.OK, *TROUBLED)
    found = read_manifest(str(out))
    if found is None or not found.complete:  # it stopped before its end
        web.download(out, max_failure_share=1)
    assert web.download(out, retry=True, max_failure_share=0.5).complete


def test_score_goes_on_with_the_added_shards(web: Web, tmp_path: Path, tiny_model: Path) -> None:
    shards, scores = tmp_path / "shards", tmp_path / "scores"
    options = ScoreOptions(references=(str(tiny_model),), batch_size=4)
    web.download(shards)
    score.run(str(shards), str(scores), options, ONE_PROCESS)
    before = {name: kept for name, kept in state(scores).items() if name.endswith(".parquet")}
    web.set(Behaviour.OK, *TROUBLED)
    web.download(shards, retry=True)
    grown = score.run(str(shards), str(scores), options, ONE_PROCESS)
    assert {name: kept for name, kept in state(scores).items() if name in before} == before
    anew = score.run(str(shards), str(tmp_path / "anew"), options, ONE_PROCESS)
    assert (grown.counts, grown.digest) == (anew.counts, anew.digest)
    assert grown.inputs == anew.inputs and len(grown.earlier) == 1


def table_of(path: Path, rows: int) -> str:
    columns = {"url": [""] * rows, "caption": [""] * rows}
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_shards_are_numbered_on_and_names_keep_their_length(tmp_path: Path) -> None:
    (tmp_path / "_manifest").mkdir()
    options = DownloadOptions(shard_size=3)
    table = open_pairs([table_of(tmp_path / "pairs.parquet", 8)])
    table_of(Path(retry_path(str(tmp_path), 1)), 4)
    table_of(Path(retry_path(str(tmp_path), 2)), 1)
    passes = plan_passes(table, str(tmp_path), options, 2)
    assert [each.names for each in passes] == [["00000", "00001", "00002"], ["00003", "00004"], ["00005"]]
    assert [plan.rows for each in passes for plan in each.plans] == [3, 3, 2, 3, 1, 1]


@pytest.mark.parametrize(
    ("planned", "retried", "last"), [(50_000, 50_000, "99999"), (50_000, 50_001, None), (50_001, 50_001, "100001")]
)
def test_names_have_room_for_as_many_shards_again(tmp_path: Path, planned: int, retried: int, last: str | None) -> None:
    (tmp_path / "_manifest").mkdir()
    table = open_pairs([table_of(tmp_path / "pairs.parquet", planned)])
    table_of(Path(retry_path(str(tmp_path), 1)), retried)
    plan: Callable = lambda: plan_passes(table, str(tmp_path), DownloadOptions(shard_size=1), 1)  # noqa: E731
    if last is None:
        with pytest.raises(InputError, match="100001 shards do not have names of 5 digits"):
            plan()
    else:
        assert plan()[1].names[-1] == last


def test_the_table_of_a_pass_is_written_in_groups(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its rows come, they stand in it once and in order."""
    out = tmp_path / "shards"
    web.download(out)
    passes = plan_passes(open_pairs([web.pairs]), str(out), web.options(), 0)
    monkeypatch.setattr("clipsieve.pipelines.pairs.copies._GROUP_BYTES", 1)
    assert write_retry_table(str(out), passes[0])
    found = pq.ParquetFile(retry_path(str(out), 1))
    assert found.num_row_groups == 4
    assert found.read()["width"].to_pylist() == [1, 4, 5, 9, 10, 12]
