"""What is wrong with a download's passes or dead letters is found, and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from clipsieve.pipelines.download.dead_letters import dead_letters_path, write_dead_letters
from clipsieve.pipelines.shards.writer import ShardStats
from clipsieve.pipelines.verify.passes import check_passes
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.counts import DownloadCounts, PassCounts
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.tables import DEAD_LETTERS, SHARDS

Ends = dict[int, tuple[ErrorClass, int | None] | None]

TIMEOUT, GONE, BUSY = (ErrorClass.TIMEOUT, None), (ErrorClass.HTTP_ERROR, 404), (ErrorClass.HTTP_ERROR, 503)
FIRST: list[Ends] = [{0: None, 1: TIMEOUT, 2: GONE}, {3: BUSY, 4: None}]
SECOND: list[Ends] = [{1: None, 3: TIMEOUT}]
COUNTS = DownloadCounts(
    rows=5,
    duplicates=0,
    success=3,
    failed_to_download=2,
    errors={ErrorClass.TIMEOUT: 1, ErrorClass.HTTP_ERROR: 1},
    retries=(PassCounts(rows=2, success=1),),
)


def write_shards(folder: Path, first: int, ended: list[Ends]) -> list[str]:
    names = [f"{first + number:05d}" for number in range(len(ended))]
    for name, ends in zip(names, ended, strict=True):
        rows = [
            {
                "uid": f"{row:032x}",
                "url": f"u{row}",
                "error_class": end[0].value if end else None,
                "http_status": end[1] if end else 200,
            }
            for row, end in ends.items()
        ]
        path = folder / f"{name}.parquet"
        tables.write_table(pa.Table.from_pylist(rows, SHARDS.schema), SHARDS, str(path))
        stats = {field.name: 0 for field in fields(ShardStats)}
        digests = {"tar_xxh3": name, "rows_digest": tables.content_digest(str(path))}
        (folder / f"{name}_stats.json").write_text(json.dumps(stats | digests))
        (folder / f"{name}.tar").touch()
    return names


def digest_of(folder: Path, names: list[str]) -> str:
    stats = [json.loads((folder / f"{name}_stats.json").read_text()) for name in names]
    described = (f"{name} {each['tar_xxh3']} {each['rows_digest']}" for name, each in zip(names, stats, strict=True))
    return files.sha256_text(*described)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Five rows in two shards of three at most, of which two are retryable: both are tried again, one in vain."""
    folder, recipe = str(tmp_path), DownloadOptions(shard_size=3)
    first = write_shards(tmp_path, 0, FIRST)
    opened = manifest.begin(folder, recipe, {"pairs": "0"})
    complete = manifest.finish(
        folder, opened, DownloadCounts(rows=5, duplicates=0, success=3), digest_of(tmp_path, first)
    )
    second = write_shards(tmp_path, 2, SECOND)
    write_dead_letters(folder, [first, second])
    opened = manifest.reopen(folder, complete, recipe, {"pairs": "0"})
    manifest.finish(folder, opened, COUNTS, "all")
    return tmp_path


def test_sound_passes(shards: Path) -> None:
    assert check_passes(str(shards)).detail.startswith("2 rows, just those that failed in the end; each later pass")


def with_counts(**counts: int) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = Path(manifest.manifest_path(str(folder)))
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "counts": {**content["counts"], **counts}}))

    return change


def with_letters(change: Callable[[list[dict]], list[dict]]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        path = dead_letters_path(str(folder))
        rows = change(tables.read_table(path, DEAD_LETTERS).to_pylist())
        tables.write_table(pa.Table.from_pylist(rows, DEAD_LETTERS.schema), DEAD_LETTERS, path)

    return rewrite


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda f: write_shards(f, 2, [{1: None, 2: TIMEOUT}]),
        r"row 2: the uid that pass 1 tried, against the failure before it, is 0+2, not 0+3",
    ),
    (lambda f: write_shards(f, 2, [{1: None}]), r"row 2: the uid that pass 1 tried, .* is no row, not 0+3"),
    (
        lambda f: write_shards(f, 0, [{0: None, 1: TIMEOUT, 2: GONE, 9: GONE}]),
        "the shards of pass 0 are not what they were before pass 1",
    ),
    (lambda f: (f / "00002.tar").unlink(), "the tar of 1 shards is missing, the first 00002.tar; restore it"),
    (lambda f: Path(dead_letters_path(str(f))).unlink(), r"dead_letters\.parquet: no such file"),
    (with_letters(lambda rows: rows[1:]), r"dead_letters\.parquet: row 1: is {'uid': '0+3'.* not {'uid': '0+2'"),
    (with_letters(lambda rows: rows[:1]), r"dead_letters\.parquet: row 2: is None, not {'uid': '0+3'"),
    (with_letters(lambda rows: [*rows, rows[0]]), "has more than the 2 rows that failed"),
    (
        with_letters(lambda rows: [rows[0], {**rows[1], "retryable": False}]),
        r"row 2: is {.*'retryable': False}, not {.*'retryable': True}",
    ),
    (with_counts(error_timeout=2), "its manifest counts {.*'error_timeout': 2.*}, its dead letters {.*"),
    (with_counts(error_dns_error=1), "its manifest counts {.*'error_dns_error': 1}, its dead letters {.*"),
    (with_counts(failed_to_resize=1), "its manifest counts {.*'failed_to_resize': 1.*}, its dead letters {.*"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_every_damage_is_named(shards: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(shards)
    with pytest.raises(ClipsieveError, match=message) as raised:
        check_passes(str(shards))
    assert str(shards) in str(raised.value)
    assert "\n" not in str(raised.value)
