"""Download: the whole command next to img2dataset's over one nginx on loopback, and next to its image work alone."""

from __future__ import annotations

import json
import multiprocessing
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs import photo
from benchmarks.server import serve_images
from benchmarks.timing import Contender, Row, clipsieve, clocked, compare, cores, python
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.options import DownloadOptions

PHOTOS = 120
ADDRESSES = 48_000
"""URLs requested; each photo is served under many, so that few have to be made."""
SHARD_SIZE = 500
THREAD_COUNTS = (16, 32, 64)
"""Of img2dataset, per process: which of them is best depends on the machine, so all run."""


def run(scratch: Path) -> list[Row]:
    """Images a second from a table of URLs to finished shards, starting the interpreter included."""
    images = {f"{number}.jpg": photo(number) for number in range(PHOTOS)}
    table = scratch / "urls.parquet"
    with serve_images(images, scratch / "server") as address:
        urls = [f"http://{address}/{number % PHOTOS}.jpg?{number}" for number in range(ADDRESSES)]
        pq.write_table(pa.table({"url": urls, "caption": [f"photo {url}" for url in urls]}), table)
        work = {
            "clipsieve download": partial(_clipsieve, table, address, "exact"),
            "clipsieve download --decode fast": partial(_clipsieve, table, address, "fast"),
            **{f"img2dataset, {threads} threads": partial(_img2dataset, table, threads) for threads in THREAD_COUNTS},
            "OpenCV decode, resize, encode alone": partial(_images_alone, list(images.values())),
        }
        return compare("download", "images", [Contender(name, clocked(function)) for name, function in work.items()])


def _clipsieve(table: Path, address: str, decode: str, out: Path) -> int:
    paths = ("--pairs", str(table), "--out", str(out))
    # All addresses are of one host, which img2dataset does not spare either.
    one_host = ("--allow-host", address, "--host-concurrency", str(DownloadOptions().concurrency))
    clipsieve("download", *paths, *one_host, "--shard-size", str(SHARD_SIZE), "--decode", decode)
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
        "resize_mode": options.resize_mode,
        "resize_only_if_bigger": options.resize_only_if_bigger,
        "encode_quality": options.encode_quality,
    }
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # a library of img2dataset's asks the web at every start
    python("-m", "img2dataset.main", *(f"--{name}={value}" for name, value in flags.items()))
    return _successes(out)


def _images_alone(photos: list[bytes], _: Path) -> int:
    """The least that any downloader must do for these images, in a process for each core."""
    shares = [(photos, len(range(core, ADDRESSES, cores()))) for core in range(cores())]
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        return sum(pool.starmap(_process_photos, shares))


def _process_photos(photos: list[bytes], count: int) -> int:
    cv2.setNumThreads(1)
    options = DownloadOptions()
    for number in range(count):
        pixels = cv2.imdecode(np.frombuffer(photos[number % len(photos)], np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ClipsieveError("a photo of the benchmark cannot be decoded")
        scale = options.image_size / min(pixels.shape[:2])
        size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, options.encode_quality])
    return count


def _successes(out: Path) -> int:
    return sum(json.loads(stats.read_text())["successes"] for stats in out.glob("*_stats.json"))
