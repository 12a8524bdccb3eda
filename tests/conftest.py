"""A finished run, made by hand in every file that its report reads, and the command line.

The run has 60 rows, two shards and two models.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from PIL import Image

from clipsieve import cli
from clipsieve.evaluation.statistics.intervals import wilson
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.counts import (
    DownloadCounts,
    EvaluateCounts,
    MemberCounts,
    ScoreCounts,
    SelectionCounts,
    TrainCounts,
)
from clipsieve.schemas.options import DownloadOptions, EvaluateOptions, ScoreOptions, SelectOptions, TrainOptions
from clipsieve.schemas.outcomes import ErrorClass, is_retryable
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.schemas.uid import uid_of

# How long an example takes says more of the machine than of the code.
settings.register_profile("clipsieve", deadline=None)
settings.load_profile("clipsieve")

SLOW = ("integration/interruption", "training", "integration")
"""Folders whose files take longest: they begin first, so that no process waits at the end for another's."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by folder, those of `SLOW` first."""
    root = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).as_posix()
        return next((place for place, slow in enumerate(SLOW) if folder.startswith(f"{slow}/")), len(SLOW))

    items.sort(key=turn)


HOSTILE = """</p></script><script>alert(1)</script><img src=x onerror="alert(2)">'"{{ 7*7 }} &lt;"""
FAILURES = {
    3: ErrorClass.HTTP_ERROR,
    13: ErrorClass.HTTP_ERROR,
    23: ErrorClass.TIMEOUT,
    33: ErrorClass.DECODE_ERROR,
}
HTTP_STATUSES = {3: 404, 13: 503}
REJECTED = 50
DUPLICATES = 4
ROWS_PER_SHARD = 30


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run folder to read, not to change: see `run_dir` for that."""
    folder = tmp_path_factory.mktemp("run")
    rows = [_row(number) for number in range(2 * ROWS_PER_SHARD)]
    _write_shards(folder / "shards", rows)
    _write_scores(folder, [row for row in rows if row["status"] == "success"])
    for name, subset, hits in (("all", None, 10), ("top40", "top40", 16)):
        _write_model(folder / "models" / name, subset)
        _write_evaluation(folder / "evaluations" / name, hits)
    return folder


@pytest.fixture
def run_dir(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def _row(number):
    """Row 0 has a hostile caption, every fifth a swapped one; similarity falls with the number."""
    caption = HOSTILE if number == 0 else f"a thing, number {number}"
    url = f"https://example.org/{number}.png"
    failure = FAILURES.get(number)
    return {
        "uid": uid_of(url, caption),
        "caption": caption,
        "url": url,
        "key": f"{number // ROWS_PER_SHARD:05d}{number % ROWS_PER_SHARD:04d}",
        "status": failure.status.value if failure else "success",
        "error_class": failure.value if failure else None,
        "http_status": HTTP_STATUSES.get(number),
        "consent": None if failure is ErrorClass.TIMEOUT else "allowed",
        "swapped": number % 5 == 4,
        "similarity": round(0.5 - number / 100 - (number % 5 == 4) / 10, 2),
    }


def _write_shards(folder, rows):
    folder.mkdir()
    schema = pa.schema([*tables.SHARDS.schema, pa.field("swapped", pa.bool_())])
    for name in ("00000", "00001"):
        own = [row for row in rows if row["key"].startswith(name)]
        with tarfile.open(folder / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in own:
                if row["status"] == "success":
                    row["tar_offset"] = tar.offset
                    _add_sample(tar, row)
                    row["tar_size"] = tar.offset - row["tar_offset"]
        written = pa.Table.from_pylist(own, schema=schema)
        tables.write_table(written, tables.SHARDS, str(folder / f"{name}.parquet"))
        (folder / f"{name}_stats.json").write_text("{}")
    _write_dead_letters(folder, [row for row in rows if row["error_class"]])
    counts = DownloadCounts(
        rows=len(rows) + DUPLICATES,
        duplicates=DUPLICATES,
        success=len(rows) - len(FAILURES),
        errors=Counter(FAILURES.values()),
    )
    _finish(folder, DownloadOptions(shard_size=ROWS_PER_SHARD + DUPLICATES // 2), counts)


def _write_dead_letters(folder, rows):
    letters = [
        {**row, "stage": "fetch", "retryable": is_retryable(ErrorClass(row["error_class"]), row["http_status"])}
        for row in rows
    ]
    table = pa.Table.from_pylist(letters, schema=tables.DEAD_LETTERS.schema)
    tables.write_table(table, tables.DEAD_LETTERS, str(folder / "_manifest" / "dead_letters.parquet"))


def _add_sample(tar, row):
    for extension, data in (
        ("jpg", _image(int(row["key"][5:]))),
        ("txt", row["caption"].encode()),
        ("json", json.dumps({"uid": row["uid"]}).encode()),
    ):
        member = tarfile.TarInfo(f"{row['key']}.{extension}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _image(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((240, 160), Image.Resampling.NEAREST).save(stream, "JPEG")
    return stream.getvalue()


def _write_scores(folder, rows):
    eligible = sorted((row for row in rows if not _is_rejected(row)), key=lambda row: (-row["similarity"], row["uid"]))
    for place, row in enumerate(eligible):
        row["quantile_rank"] = place / len(eligible)
    for name in ("00000", "00001"):
        own = [
            {
                **row,
                "shard": name,
                "reject_reason": "too_small" if _is_rejected(row) else None,
                "sample_rank": int(row["uid"][:8], 16) / 2**32,
            }
            for row in rows
            if row["key"].startswith(name)
        ]
        for kind, table in (("scores", tables.SCORES), ("selection", tables.SELECTION)):
            path = str(folder / kind / f"{name}.parquet")
            tables.write_table(pa.Table.from_pylist(own, schema=table.schema), table, path)
    _finish(folder / "scores", ScoreOptions(), ScoreCounts(pairs=len(rows), shards=2))
    options, counts = SelectOptions(fractions=(20, 40)), SelectionCounts(pairs=len(rows), eligible=len(eligible))
    _finish(folder / "selection", options, counts)
    for percent in (20, 40):
        members = eligible[: len(eligible) * percent // 100]
        path = str(folder / "subsets" / f"top{percent}.parquet")
        tables.write_table(pa.Table.from_pylist(members, schema=tables.SUBSET.schema), tables.SUBSET, path)
    _finish(folder / "subsets", options, MemberCounts())


def _is_rejected(row):
    return row["url"] == f"https://example.org/{REJECTED}.png"


def _write_model(folder, subset):
    pairs = 22 if subset else 55
    counts = TrainCounts(
        pairs=pairs, samples_seen=512, unique_samples=pairs, steps=4, parameters=1, image_macs=1, text_macs=1
    )
    folder.mkdir(parents=True)
    zeros = {field.name: 0 for field in tables.TRAIN_LOG.schema if not field.nullable}
    log = [{**zeros, "step": step, "loss": 5.0 / step} for step in (1, 2, 3, 4)]
    rows = pa.Table.from_pylist(log, schema=tables.TRAIN_LOG.schema)
    tables.write_table(rows, tables.TRAIN_LOG, str(folder / tables.TRAIN_LOG_NAME))
    subsets = [WeightedSubset(name=subset, path=None, digest="ef" * 32)] if subset else []
    _finish(folder, TrainOptions(tower="vit-tiny-64", samples=512), counts, subsets)


def _write_evaluation(folder, hits):
    """A zero-shot task of 40 images, and a retrieval task of two captions an image: of each task, the first
    ``hits`` images are right, with their captions."""
    samples = folder / "samples"
    samples.mkdir(parents=True)
    ids = [f"s{number:07d}" for number in range(40)]
    ranks = [0 if number < hits else 2 for number in range(40)]
    right = [rank == 0 for rank in ranks]
    zero_shot = {
        "id": ids,
        "label": [0] * 40,
        "prediction": [int(not hit) for hit in right],
        "correct": right,
    }
    pq.write_table(pa.table({**zero_shot, "rank": ranks}), samples / "shapes.parquet")
    pq.write_table(pa.table({"id": ids, "rank": ranks}), samples / "captions.images.parquet")
    texts = {
        "id": np.repeat(ids, 2).tolist(),
        "caption_index": [0, 1] * 40,
        "rank": np.repeat(ranks, 2).tolist(),
    }
    pq.write_table(pa.table(texts), samples / "captions.texts.parquet")
    recalls = ["image_retrieval_recall@1", "text_retrieval_recall@1"]
    rows = [
        _result("captions", "zeroshot_retrieval", recalls, hits),
        _result("shapes", "zeroshot_classification", ["acc1"], hits),
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _finish(folder, EvaluateOptions(), EvaluateCounts(tasks=2, samples=80))


def _result(key, kind, metrics, hits):
    values = dict.fromkeys([*metrics, "main_metric"], hits / 40)
    intervals = {name: wilson(value, 40) for name, value in values.items()}
    return {
        "key": key,
        "dataset": key.title(),
        "task": kind,
        "metrics": values,
        "intervals": intervals,
        "samples": 40,
    }


def _finish(folder, options, counts, subsets=()):
    begun = manifest.begin(str(folder), options, {"pairs": "ab" * 32}, subsets=subsets)
    manifest.finish(str(folder), begun, counts, "cd" * 32)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def status_of():
    """status_of("score", "--shards", …): run the real command in this process; returns its exit status."""

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["clipsieve", *map(str, arguments)])
            try:
                cli.main()
            except SystemExit as ended:
                return ended.code or 0
        return 0

    return run


@pytest.fixture
def command(status_of, capfd):
    """command("score", "--shards", …): the same, with what was written to stdout and stderr."""

    def run(*arguments):
        capfd.readouterr()
        status = status_of(*arguments)
        return Ended(status, *capfd.readouterr())

    return run
