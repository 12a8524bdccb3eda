"""Index: a tar as img2dataset leaves it, next to tarfile's walk over headers and webdataset's reading of all."""

from __future__ import annotations

import os
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from benchmarks.timing import Contender, Row, clocked, compare
from clipsieve.pipelines.index.rows import SourceShard, index_rows
from clipsieve.schemas.options import IndexOptions

SAMPLES = 20_000
IMAGE_BYTES = (3_000, 30_000)


def run(scratch: Path) -> list[Row]:
    """Samples a second of one process, from a tar and its table to the rows of an index; the tar is in the cache."""
    shard = _write_shard(scratch / "img2dataset")
    work = {
        "clipsieve index": partial(_clipsieve, shard),
        "tarfile, headers alone": partial(_tarfile, shard.tar),
        "webdataset, samples read": partial(_webdataset, shard.tar),
    }
    return compare("index", "samples", [Contender(name, clocked(function)) for name, function in work.items()])


def _write_shard(folder: Path) -> SourceShard:
    folder.mkdir()
    keys, sizes = (
        [f"{number:09d}" for number in range(SAMPLES)],
        np.random.default_rng(0).integers(*IMAGE_BYTES, SAMPLES),
    )
    rows = {"key": keys, "url": [f"http://a/{key}" for key in keys], "caption": [f"caption {key}" for key in keys]}
    with webdataset.TarWriter(str(folder / "00000.tar")) as tar:
        for key, size, url, caption in zip(keys, sizes.tolist(), rows["url"], rows["caption"], strict=True):
            described = {"key": key, "url": url, "caption": caption, "status": "success"}
            tar.write({"__key__": key, "jpg": os.urandom(size), "json": described, "txt": caption})
    pq.write_table(pa.table(rows | {"status": ["success"] * SAMPLES}), folder / "00000.parquet")
    return SourceShard("00000", str(folder / "00000.tar"))


def _clipsieve(shard: SourceShard, _: Path) -> int:
    return len(index_rows(shard, IndexOptions())[0])


def _tarfile(path: str, _: Path) -> int:
    with tarfile.open(path) as tar:
        return len({member.name.partition(".")[0] for member in tar})


def _webdataset(path: str, _: Path) -> int:
    return sum(1 for _ in webdataset.WebDataset(path, shardshuffle=False))
