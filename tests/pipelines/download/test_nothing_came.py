"""A download of which nothing came says so and why, and its folder may be begun anew; no other may."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.download.nothing_came import refuse_nothing
from clipsieve.pipelines.quickstart.web import Page, serve
from clipsieve.pipelines.verify.shards import check_shards
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.errors import BudgetError, InputError
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.shards import list_shards
from tests.pipelines.download.test_job import ONE_PROCESS, data_files, manifest_of, options, parquet, png

FORBIDDEN = "none of 7 pairs came; 7 failed with forbidden_address: .* --allow-host HOST:PORT"


@pytest.fixture(scope="module")
def web():
    with serve({f"/{number}.png": Page(png(number)) for number in range(7)}) as base:
        yield base


@pytest.fixture
def pairs(web, tmp_path):
    urls = [f"{web}/{number}.png" for number in range(7)]
    return parquet(tmp_path, pa.table({"url": urls, "caption": [f"c {number}" for number in range(7)]}))


def private(web, **more):
    """Options under which every row fails."""
    return options(web, **more).model_copy(update={"allow_hosts": ()})


def state(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}


def test_a_folder_without_an_image_is_begun_anew_with_other_options(web, pairs, tmp_path):
    out = tmp_path / "shards"
    for _ in range(2):
        with pytest.raises(BudgetError, match=FORBIDDEN):
            download.run(pairs, str(out), private(web, shard_size=2), ONE_PROCESS)
    assert manifest_of(out).complete and len(list_shards(str(out))) == 4
    done = download.run(pairs, str(out), options(web), ONE_PROCESS)
    assert done.digest == download.run(pairs, str(tmp_path / "fresh"), options(web), ONE_PROCESS).digest
    assert data_files(out) == data_files(tmp_path / "fresh")
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in (tmp_path / "fresh").iterdir())
    check_shards(str(out))


def test_so_is_one_that_was_stopped_before_an_image_came(web, pairs, tmp_path):
    out = tmp_path / "shards"
    with pytest.raises(BudgetError):
        download.run(pairs, str(out), private(web, shard_size=2), ONE_PROCESS)
    path = out / "_manifest" / "manifest.json"
    path.write_text(path.read_text().replace('"complete"', '"running"'))
    (out / "00003_stats.json").unlink()
    done = download.run(pairs, str(out), options(web), ONE_PROCESS)
    assert list_shards(str(out)) == ["00000", "00001"] and done.counts.shown["success"] == 7
    check_shards(str(out))


def test_a_folder_with_an_image_another_table_or_a_retry_is_not(web, pairs, tmp_path):
    out, bare = tmp_path / "shards", tmp_path / "bare"
    download.run(pairs, str(out), options(web), ONE_PROCESS)
    with pytest.raises(BudgetError):
        download.run(pairs, str(bare), private(web), ONE_PROCESS)
    (tmp_path / "other").mkdir()
    other = parquet(tmp_path / "other", pa.table({"url": [f"{web}/1.png"], "caption": ["another"]}))
    before = state(out), state(bare)
    with pytest.raises(InputError, match="`allow_hosts` was"):
        download.run(pairs, str(out), private(web), ONE_PROCESS)
    with pytest.raises(InputError, match="`pairs` was"):
        download.run(other, str(bare), options(web), ONE_PROCESS)
    with pytest.raises(InputError, match="`allow_hosts` was"):
        download.run(pairs, str(bare), options(web), ONE_PROCESS, retry_failed=True)
    assert (state(out), state(bare)) == before


def test_what_others_left_in_the_folder_stays(web, pairs, tmp_path):
    out = tmp_path / "shards"
    out.mkdir()
    given = out / "pairs.parquet"
    shutil.copy(pairs, given)
    with pytest.raises(BudgetError):
        download.run(str(given), str(out), private(web), ONE_PROCESS)
    download.run(str(given), str(out), options(web), ONE_PROCESS)
    assert given.read_bytes() == Path(pairs).read_bytes()


@pytest.mark.parametrize("error", ErrorClass)
def test_every_class_has_a_way_out_whose_flags_exist(error):
    counts = DownloadCounts(rows=3, duplicates=1, success=0, errors={error: 2})
    with pytest.raises(BudgetError, match=f"none of 2 pairs came; 2 failed with {error.value}: .+") as caught:
        refuse_nothing("out", counts)
    assert caught.value.exit_status == 3
    known = {name.replace("_", "-").removesuffix("s") for name in DownloadOptions.model_fields} | {"retry-failed"}
    flags = {word.strip(";,.").removeprefix("--") for word in str(caught.value).split() if word.startswith("--")}
    assert {flag.removeprefix("no-").removesuffix("s") for flag in flags} <= known


def test_the_commonest_class_is_named_and_one_image_is_enough():
    counts = {ErrorClass.TIMEOUT: 2, ErrorClass.TOO_LARGE: 3, ErrorClass.TLS_ERROR: 1}
    with pytest.raises(BudgetError, match=r"none of 6 pairs came; 3 failed with too_large: raise --max-bytes\."):
        refuse_nothing("out", DownloadCounts(rows=6, duplicates=0, success=0, errors=counts))
    refuse_nothing("out", DownloadCounts(rows=7, duplicates=0, success=1, errors=counts))
    refuse_nothing("out", DownloadCounts(rows=1, duplicates=1, success=0))
