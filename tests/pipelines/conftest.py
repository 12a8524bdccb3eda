"""Tiny shards in img2dataset's layout and a tiny reference, made anew for each session of tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipsieve.schemas.models import save_model
from clipsieve.schemas.uid import uid_of
from tests.pipelines.whole_run import Run, make_run

WORDS = ("red", "green", "blue", "grey", "small", "large", "round", "flat")


def jpeg_of(seed: int, size: int = 24) -> bytes:
    """A JPEG of coloured noise, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def caption_of(row: int) -> str:
    return f"a {WORDS[row % 8]} {WORDS[row // 8 % 8]} thing, number {row}"


def write_members(path: Path, samples: Sequence[dict[str, bytes]]) -> list[tuple[int, int]]:
    """Write samples {member name: bytes}; returns each one's offset and size."""
    places = []
    with (
        path.open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for sample in samples:
            start = tar.offset
            for name, data in sample.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            places.append((start, tar.offset - start))
    return places


def write_shard(
    folder: Path, shard: int, rows: Sequence[int], failed: Sequence[int] = (), foreign: bool = False
) -> None:
    """Write one shard of the pairs ``rows``; those in ``failed`` have no image.

    ``foreign``: as img2dataset writes it itself, without uid, tar_offset and the like.
    """
    name, samples, table = f"{shard:05d}", [], []
    for index, row in enumerate(rows):
        key, url, caption = f"{shard:05d}{index:04d}", f"https://example.org/{row}.jpg", caption_of(row)
        image = None if row in failed else jpeg_of(row)
        record: dict[str, Any] = {
            "caption": caption,
            "url": url,
            "key": key,
            "status": "success" if image else "failed_to_download",
            "error_message": None if image else "HTTP Error 404",
            "sha256": hashlib.sha256(image).hexdigest() if image else None,
        }
        if not foreign:
            record = {"uid": uid_of(url, caption), **record}
        table.append(record)
        if image:
            members = {"jpg": image, "txt": caption.encode(), "json": json.dumps(record).encode()}
            samples.append({f"{key}.{extension}": data for extension, data in members.items()})
    places = iter(write_members(folder / f"{name}.tar", samples))
    if not foreign:
        for record in table:
            offset, size = next(places) if record["status"] == "success" else (None, None)
            record |= {"tar_offset": offset, "tar_size": size}
    pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")
    stats = {
        "count": len(rows),
        "successes": len(samples),
        "failed_to_download": len(failed),
        "failed_to_resize": 0,
    }
    (folder / f"{name}_stats.json").write_text(json.dumps(stats))


@pytest.fixture
def write_tar() -> Callable[[Path, Sequence[dict[str, bytes]]], list[tuple[int, int]]]:
    return write_members


@pytest.fixture(scope="session")
def encode_image() -> Callable[[int], bytes]:
    return jpeg_of


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP of width 32 with random weights."""
    folder = tmp_path_factory.mktemp("tiny-model")
    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 1024, "width": 32, "heads": 2, "layers": 2},
    }
    torch.manual_seed(0)
    model = open_clip.CLIP(**model_cfg)
    preprocess_cfg = {
        "size": 16,
        "mode": "RGB",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "resize_mode": "squash",
    }
    save_model(str(folder), model, model_cfg, preprocess_cfg)
    return folder


@pytest.fixture(scope="session")
def whole_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run through every stage that holds pairs. To be read, not changed."""
    return make_run(tmp_path_factory.mktemp("whole"), jpeg_of, tiny_model)


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., Path]:
    """make_shards(sizes, failed=(), foreign=False, name="shards") -> the folder of the shards."""

    def make(sizes: Sequence[int], failed: Sequence[int] = (), foreign: bool = False, name: str = "shards") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        first = 0
        for shard, size in enumerate(sizes):
            rows = range(first, first + size)
            write_shard(folder, shard, rows, [row for row in failed if row in rows], foreign)
            first += size
        return folder

    return make
