"""Small shards in img2dataset's layout with the columns that training reads, and a very small tower."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from clipsieve.schemas import tables
from clipsieve.schemas.uid import uid_of
from clipsieve.training.runtime import Runtime

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "yellow": (230, 220, 20)}
SHAPES = ("square", "bar", "frame")
PAIRS = 48
PAIRS_PER_SHARD = 20
FAILED = {7, 25}

TINY_TOWER = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "size": 16,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.6, 0.7],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


@pytest.fixture(scope="session")
def alone():
    """The runtime of a run of one process on the CPU."""
    return Runtime(0, 1, torch.device("cpu"), None)


@pytest.fixture(scope="session")
def rows():
    """The rows of the shards' tables, in order; those of failed downloads included."""
    return [_row(number) for number in range(PAIRS)]


@pytest.fixture(scope="session")
def shards(rows, tmp_path_factory):
    """A folder of three shards: coloured shapes with captions that say so."""
    folder = tmp_path_factory.mktemp("shards")
    for first in range(0, len(rows), PAIRS_PER_SHARD):
        _write_shard(folder / f"{first // PAIRS_PER_SHARD:05d}", rows[first : first + PAIRS_PER_SHARD])
    return str(folder)


@pytest.fixture(scope="session")
def tower_file(tmp_path_factory):
    """A configuration of 0.06 M parameters at 16 px."""
    path = tmp_path_factory.mktemp("towers") / "tiny.json"
    path.write_text(json.dumps(TINY_TOWER))
    return str(path)


def _row(number):
    url, caption = f"https://example.org/{number}.png", _caption(number)
    return {
        "uid": uid_of(url, caption),
        "url": url,
        "caption": caption,
        "key": f"{number // PAIRS_PER_SHARD:05d}{number % PAIRS_PER_SHARD:04d}",
        "status": "failed_to_download" if number in FAILED else "success",
    }


def _caption(number):
    return f"a {list(COLOURS)[number % 4]} {SHAPES[number % 3]}"


def _write_shard(stem, rows):
    with tarfile.open(f"{stem}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            if row["status"] == "success":
                row["tar_offset"] = tar.offset
                for extension, data in (
                    ("jpg", _image(row)),
                    ("txt", row["caption"].encode()),
                    ("json", b"{}"),
                ):
                    member = tarfile.TarInfo(f"{row['key']}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                row["tar_size"] = tar.offset - row["tar_offset"]
    table = pa.Table.from_pylist(rows, schema=tables.SHARDS.schema)
    tables.write_table(table, tables.SHARDS, f"{stem}.parquet")
    stem.with_name(f"{stem.name}_stats.json").write_text("{}")


def _image(row):
    """A shape on grey noise of a size of its own, so that no two images are equal."""
    rng = np.random.default_rng(int(row["uid"][:8], 16))
    height, width = rng.integers(24, 48, 2)
    pixels = rng.integers(100, 140, (height, width, 3)).astype(np.uint8)
    _, colour, shape = row["caption"].split()
    pixels[height // 4 : height * 3 // 4, (0 if shape == "bar" else width // 4) : width * 3 // 4] = COLOURS[colour]
    if shape == "frame":
        pixels[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = 120
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()
