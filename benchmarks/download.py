"""Download: the whole command beside img2dataset's, over the same addresses of one server on loopback."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs import photo
from benchmarks.server import serve_images
from benchmarks.timing import Contender, Row, clocked, compare, cores, python
from schemas.recipe import DownloadOptions

PHOTOS = 60
ADDRESSES = 1_200
"""URLs asked for; each photo is served under many, so that few have to be made."""
SHARD_SIZE = 300
THREAD_COUNTS = (16, 64)
"""Of img2dataset, per process: which of them is better depends on the machine, so both run."""


def run(scratch: Path) -> list[Row]:
    """Images a second from a table of URLs to finished shards, starting the interpreter included."""
    images = {f"{number}.jpg": photo(number) for number in range(PHOTOS)}
    table = scratch / "urls.parquet"
    with serve_images(images, scratch / "server") as address:
        urls = [f"http://{address}/{number % PHOTOS}.jpg?{number}" for number in range(ADDRESSES)]
        pq.write_table(pa.table({"url": urls, "caption": [f"photo {url}" for url in urls]}), table)
        peers = [
            Contender(f"img2dataset, {threads} threads", clocked(partial(_img2dataset, table, threads)))
            for threads in THREAD_COUNTS
        ]
        ours = Contender("clipsieve download", clocked(partial(_clipsieve, table, address)))
        return compare("download", "images", [ours, *peers])


def _clipsieve(table: Path, address: str, out: Path) -> int:
    paths = ("--pairs", str(table), "--out", str(out))
    limits = ("--shard-size", str(SHARD_SIZE), "--allow-hosts", address)
    python("-m", "pipelines.download", *paths, *limits)
    return _successes(out)


def _img2dataset(table: Path, threads: int, out: Path) -> int:
    """The command with the options that make what `DownloadOptions` makes; its other defaults stay."""
    options = DownloadOptions()
    flags = {
        "url_list": table,
        "input_format": "parquet",
        "caption_col": "caption",
        "output_folder": out,
        "output_format": "webdataset",
        "number_sample_per_shard": SHARD_SIZE,
        "processes_count": cores(),
        "thread_count": threads,
        "image_size": options.image_size,
        "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True,
        "encode_quality": options.encode_quality,
    }
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # a library of img2dataset's asks the web at every start
    python("-m", "img2dataset.main", *(f"--{name}={value}" for name, value in flags.items()))
    return _successes(out)


def _successes(out: Path) -> int:
    return sum(json.loads(stats.read_text())["successes"] for stats in out.glob("*_stats.json"))
