"""A pool of real pictures with a planted copy of each, as shards and scores: what dedup's recall is measured on.

The pictures are the lab data's ($CLIPSIEVE_LAB_DATA). A half of a file is told by a hash of its ids, so that what is
tuned on one half can be judged on the other.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas import tables
from clipsieve.schemas.images import decode_image
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.uid import uid_of

KINDS = ("quality 40", "half size", "95% crop", "other caption")
CROP = 0.95
_SHARD_ROWS = 1000
_LONGEST_SIDE = 512


@dataclass(frozen=True)
class Planted:
    """A picture of the pool."""

    source: str
    """Of a copy and its original the same."""
    kind: str
    """One of `KINDS`; of an original, nothing."""
    image: bytes
    caption: str


def pictures(folder: Path, name: str, most: int, half: int | None = None) -> Iterator[tuple[str, Image.Image]]:
    """(id, picture) of at most ``most`` rows of ``folder``/NAME.parquet, in the order of their ids' hashes.

    ``half`` 0 or 1 takes the rows whose hash is even or odd.
    """
    rows = pq.read_table(folder / f"{name}.parquet", columns=["id", "image"])
    digests = [hashlib.sha256(f"{name}/{each}".encode()).digest() for each in rows["id"].to_pylist()]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    chosen = [row for row in order if half is None or digests[row][-1] % 2 == half][:most]
    for row in chosen:
        where = f"{name}/{rows['id'][row].as_py()}"
        yield where, _opaque(rows["image"][row].as_py(), where)


def with_copies(sources: Iterator[tuple[str, Image.Image]], seed: int) -> Iterator[Planted]:
    """Each picture and one copy of it, of the four kinds in turn; crops lie anywhere."""
    rng = np.random.default_rng(seed)
    for number, (source, picture) in enumerate(sources):
        kind, original = KINDS[number % len(KINDS)], _encoded(picture, "PNG")
        yield Planted(source, "", original, source)
        yield Planted(source, kind, _copy_of(picture, kind, rng) or original, f"{kind} of {source}")


def write_pool(planted: Sequence[Planted], folder: Path, seed: int) -> dict[str, Planted]:
    """Write ``folder``/shards, as `download` would, and ``folder``/scores, drawn; returns the pictures by uid."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(planted))
    by_uid: dict[str, Planted] = {}
    for start in range(0, len(order), _SHARD_ROWS):
        shard = f"{start // _SHARD_ROWS:05d}"
        part = [planted[row] for row in order[start : start + _SHARD_ROWS]]
        urls = [f"https://example.org/{each.source}/{each.kind}" for each in part]
        columns = {
            "uid": [uid_of(url, each.caption) for url, each in zip(urls, part, strict=True)],
            "url": urls,
            "caption": [each.caption for each in part],
            "key": [f"{shard}{row:04d}" for row in range(len(part))],
        }
        by_uid |= dict(zip(columns["uid"], part, strict=True))
        with open_shard(str(folder / "shards"), shard, pa.schema([]), 0) as writer:
            writer.write(pa.table(columns), [_downloaded(each.image) for each in part])
        scores = {
            "uid": columns["uid"],
            "key": columns["key"],
            "shard": [shard] * len(part),
            "similarity": rng.random(len(part), np.float32),
        }
        wanted = ["uid", "shard", "key", "similarity"]
        tables.write_table(pa.table(scores), tables.SCORES, str(folder / f"scores/{shard}.parquet"), wanted)
    return by_uid


def _opaque(data: bytes, where: str) -> Image.Image:
    picture = decode_image(data, where).convert("RGBA")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def _copy_of(picture: Image.Image, kind: str, rng: np.random.Generator) -> bytes | None:
    """The copy's bytes; None where its bytes are the original's."""
    width, height = picture.size
    if kind == "quality 40":
        return _encoded(picture, "JPEG", 40)
    if kind == "half size":
        return _encoded(picture.resize((max(8, width // 2), max(8, height // 2)), Image.Resampling.BICUBIC), "JPEG", 90)
    if kind == "95% crop":
        w, h = round(CROP * width), round(CROP * height)
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        return _encoded(picture.crop((x, y, x + w, y + h)), "JPEG", 90)
    return None


def _encoded(picture: Image.Image, form: str, quality: int = 0) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **({"quality": quality} if quality else {}))
    return stream.getvalue()


def _downloaded(image: bytes) -> RowOutcome:
    made = process_image(image, DownloadOptions())
    if not isinstance(made, ProcessedImage):
        raise TypeError(f"a picture of the lab data is none: {made.message}")
    digest = hashlib.sha256(image).hexdigest()
    return RowOutcome({"status": "success", "sha256": digest, "phash": made.phash}, made.image)
