"""The real command, on as many workers as there are cores, on a web where nearly everything is wrong."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from clipsieve.schemas.outcomes import Consent, ErrorClass
from clipsieve.schemas.samples import iter_samples
from tests.commands import CLIPSIEVE
from tests.integration.hostile.cases import PAGES, Case, cases
from tests.integration.hostile.consent import ROBOTS_FILES
from tests.integration.hostile.places import REDIRECTS
from tests.integration.hostile.server import HostileWeb, serve
from tests.integration.hostile.wire import LENGTHS, NOT_HTTP, RESETS, SLOW

ATTEMPTS, TOTAL_SECONDS, RETRY_AFTER_SECONDS, BACKOFF_SECONDS, IMAGE_SIDE = 2, 6, 3, 1, 64
SHARED_PAGES = {"sound", "rules", "html_called_jpeg", *REDIRECTS, *ROBOTS_FILES}
MOST_BROKEN = 3
"""Pages of a run whose connection may break before its answer without a reason of ours."""
"""Pages that are requested on the way to others, or may not be requested."""
FLAGS = {
    "--attempts": ATTEMPTS,
    "--connect-timeout": 3,
    "--read-timeout": 3,
    "--total-timeout": TOTAL_SECONDS,
    "--max-retry-after": RETRY_AFTER_SECONDS,
    "--max-bytes": 1_000_000,
    "--host-concurrency": 64,
    "--image-size": IMAGE_SIDE,
    "--shard-size": 100,
}


@dataclass(frozen=True)
class Download:
    """What was requested, what came of it and what the servers saw."""

    out: Path
    cases: list[Case]
    rows: dict[str, dict]
    web: HostileWeb
    stderr: str

    def where(self, status: str) -> list[dict]:
        return [row for row in self.rows.values() if row["status"] == status]


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Download]:
    folder = tmp_path_factory.mktemp("hostile")
    out = folder / "shards"
    with serve(PAGES, folder) as web:
        asked = cases(web)
        table = pa.table({"url": [case.url for case in asked], "caption": [case.name for case in asked]})
        pq.write_table(table, folder / "pairs.parquet")
        doors = [word for host in web.allowed_hosts for word in ("--allow-host", host)]
        flags = [str(word) for flag in FLAGS.items() for word in flag]
        command = [CLIPSIEVE, "download", "--pairs", str(folder / "pairs.parquet")]
        command += ["--out", str(out), *flags, *doors]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stderr
        tables = [pq.read_table(path) for path in sorted(out.glob("*.parquet"))]
        rows = pa.concat_tables(tables).to_pylist()
        assert [row["caption"] for row in rows] == [case.name for case in asked]
        yield Download(out, asked, {row["caption"]: row for row in rows}, web, ended.stderr)


def test_every_row_ends_once_with_its_class(download: Download) -> None:
    wrong = []
    for case in download.cases:
        row = download.rows[case.name]
        end = ErrorClass(row["error_class"]) if row["error_class"] else None
        if end not in case.ends:
            wrong.append(f"{case.name}: {row['error_class']} ({row['error_message']}), not {case.ends}")
        if row["status"] != (end.status.value if end else "success"):
            wrong.append(f"{case.name}: status {row['status']}")
    assert not wrong, "\n".join(wrong)


def test_the_table_is_as_hostile_as_it_says(download: Download) -> None:
    assert len(download.cases) == len(download.rows) > 400
    assert {case.ends[0] for case in download.cases} == {
        None,
        *set(ErrorClass)
        - {ErrorClass.HASH_MISMATCH, ErrorClass.TOO_SMALL, ErrorClass.ASPECT_RATIO}
        - {ErrorClass.HOST_NOT_FOUND, ErrorClass.DNS_ERROR}
        - {ErrorClass.FORBIDDEN_PATH, ErrorClass.FILE_NOT_FOUND, ErrorClass.NOT_A_FILE, ErrorClass.FILE_ERROR}  # pack's
        - {ErrorClass.NO_CAPTION},
    }


def test_nothing_came_near_a_forbidden_address(download: Download) -> None:
    assert download.web.trespasses == []


def test_the_row_says_who_decided_that_it_may_be_used(download: Download) -> None:
    for case in download.cases:
        row = download.rows[case.name]
        if row["error_class"] == ErrorClass.OPTED_OUT.value:
            assert case.consent and row["consent"] == case.consent.value, case
        elif row["sha256"] is not None:
            assert row["consent"] == Consent.ALLOWED.value, case


def test_what_may_pass_is_asked_for_again_and_nothing_else(download: Download) -> None:
    """A worker that died would show here too: its shard would be requested a second time."""
    visits = Counter(visit.page for visit in download.web.visits)
    attempts = {name: download.rows[name]["attempts"] for name in PAGES.keys() - SHARED_PAGES}
    for name, count in attempts.items():
        # A connection that breaks before the answer is made once more by the HTTP client itself.
        assert 1 <= visits[name] <= 2 * count, name
    # A busy machine may break one, or time out before it is made; a dead worker's shard would come again as a whole.
    assert sum(visits[name] != count for name, count in attempts.items() if name not in RESETS) <= MOST_BROKEN
    passing = {name for name in attempts if download.rows[name]["error_class"] in ("timeout", "connection_error")}
    assert passing > {*SLOW, *RESETS} - {name for name, page in PAGES.items() if len(page.ends) > 1}
    assert {attempts[name] for name in passing} == {ATTEMPTS}
    assert {attempts[name] for name in (*NOT_HTTP, *LENGTHS, "status_404", "status_501") if name not in passing} == {1}


def test_no_row_outlives_its_deadlines(download: Download) -> None:
    """From a row's first request to its last connection's end, by the server's clock; half as much again for load."""
    deadline = ATTEMPTS * TOTAL_SECONDS + RETRY_AFTER_SECONDS + BACKOFF_SECONDS
    spans: dict[tuple[int, str], list[float]] = {}
    for visit in download.web.visits:
        assert visit.closed is not None, visit
        if visit.page not in {*SHARED_PAGES, "robots.txt"} or visit.port != download.web.ports["main"]:
            spans.setdefault((visit.port, visit.page), []).extend((visit.opened, visit.closed))
    longest = max(max(span) - min(span) for span in spans.values())
    assert TOTAL_SECONDS < longest < 1.5 * deadline


def test_the_folder_is_sound(download: Download, command: Callable) -> None:
    ended = command("verify", download.out.parent)
    assert (ended.status, ended.err) == (0, "")
    assert "Traceback" not in download.stderr


def test_webdataset_decodes_every_image(download: Download) -> None:
    tars = [str(path) for path in sorted(download.out.glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    rows = download.where("success")
    assert [sample["txt"] for sample in samples] == [row["caption"] for row in rows]
    assert [sample["jpg"].size for sample in samples] == [(row["width"], row["height"]) for row in rows]
    assert all(min(sample["jpg"].size) <= IMAGE_SIDE for sample in samples)


def test_images_are_stored_upright_and_bare(download: Download) -> None:
    turned = download.rows["turned"]
    assert (turned["original_width"], turned["original_height"]) == (96, 72)
    assert (turned["width"], turned["height"]) == (64, 85)
    for path in sorted(download.out.glob("*.tar")):
        for sample in iter_samples(str(path)):
            assert not any(mark in sample.image for mark in (b"<script", b"Exif", b"PK\x03\x04")), sample.key
