"""What the benchmarks work on: shards of the quickstart's pairs, and photo-like JPEGs; the same in every run."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.pairs.plan import naming
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.uid import uid_of

SHARDS = 8
"""Shards in `pair_shards`; 8,744 pairs are about as many as one shard of a real pool holds."""
PHOTO_SIZE = (500, 375)
PHOTO_QUALITY = 95


@cache
def pair_shards(scratch: Path) -> Path:
    """A folder of `SHARDS` shards, each of all quickstart pairs as `download` stores them, under other URLs."""
    folder = scratch / "shards"
    table = pq.read_table(io.BytesIO((resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes()))
    made = [process_image(data, DownloadOptions()) for data in table["image"].to_pylist()]
    images = [each.image for each in made if isinstance(each, ProcessedImage)]
    titles, names = table["title"].to_pylist(), naming(SHARDS, len(table))
    for number in range(SHARDS):
        urls = [f"https://example.org/{number}/{row}" for row in range(len(titles))]
        rows = {
            "caption": titles,
            "url": urls,
            "key": [names.key(number, row) for row in range(len(titles))],
            "uid": list(map(uid_of, urls, titles)),
        }
        with open_shard(str(folder), names.shard(number), pa.schema([]), 0) as shard:
            shard.write(pa.table(rows), [RowOutcome({"status": Status.SUCCESS.value}, image) for image in images])
    return folder


def photo(seed: int) -> bytes:
    """A JPEG of about 110 KB, as ImageNet's are: noise of every scale, fainter where it is finer."""
    rng = np.random.default_rng(seed)
    width, height = PHOTO_SIZE
    pixels = np.full((height, width, 3), 128.0)
    for cells in (3, 6, 12, 24, 48, 96, 192, 384):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        layer = np.asarray(noise.resize(PHOTO_SIZE, Image.Resampling.BICUBIC), np.float64) - 128
        pixels += layer * cells**-0.35
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=PHOTO_QUALITY)
    return stream.getvalue()
