"""A pool of real pictures as its publisher saw it, and as it came: what drift's recall is measured on.

The pictures and titles are the lab data's openclipart ($CLIPSIEVE_LAB_DATA); the builtin reference is the publisher's.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from benchmarks.dedup_pool import pictures
from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas import tables
from clipsieve.schemas.options import DownloadOptions, ScoreOptions
from clipsieve.schemas.uid import uid_of

REENCODED = (
    "JPEG quality 30",
    "JPEG quality 75",
    "half size, JPEG",
    "half size, PNG",
    "WebP",
    "GIF",
    "two thirds, WebP",
)
KINDS = ("untouched", "swapped", "placeholder", "expired", *REENCODED)
PAIRS_A_PLACEHOLDER = 25
PAIRS_AN_EXPIRED_HOST = 20
_PAIRS_A_HOST = 40
_SHARD_ROWS = 1000


@dataclass(frozen=True)
class Planted:
    """A pair of the pool."""

    url: str
    caption: str
    kind: str
    """One of `KINDS`."""
    seen: bytes
    """What the publisher saw."""
    came: bytes

    @property
    def uid(self) -> str:
        return uid_of(self.url, self.caption)


def plant(lab: Path, most: int, each: int, seed: int) -> list[Planted]:
    """``most`` pictures of openclipart's half 1 at most: ``each`` swapped, as many placeholders, as many re-encoded.

    A tenth as many are on expired hosts, each of which serves other pictures of the pool; the others are untouched. A
    swapped picture is another one of the pool; placeholders are other pictures of openclipart and drawn notices.
    """
    spare = max(1, each // PAIRS_A_PLACEHOLDER)
    found = list(pictures(lab, "openclipart", most + spare, half=1))
    rows = pq.read_table(lab / "openclipart.parquet", columns=["id", "title"]).to_pylist()
    titles = {row["id"]: row["title"] or "" for row in rows}
    spares, found = found[:spare], found[spare:]
    rng = np.random.default_rng(seed)
    kinds = ["swapped"] * each + ["placeholder"] * each + ["expired"] * (each // 10)
    kinds += [REENCODED[number % len(REENCODED)] for number in range(each)]
    kinds += ["untouched"] * (len(found) - len(kinds))
    kinds = [kinds[place] for place in rng.permutation(len(kinds))]
    notices = [_notice(picture, number) for number, (_, picture) in enumerate(spares)]
    numbers = dict.fromkeys(KINDS, 0)
    planted = []
    for row, ((source, picture), kind) in enumerate(zip(found, kinds, strict=True)):
        number, numbers[kind] = numbers[kind], numbers[kind] + 1
        other = found[(row + int(rng.integers(1, len(found)))) % len(found)][1]
        seen = _encoded(picture, "PNG")
        notice = notices[number // PAIRS_A_PLACEHOLDER % len(notices)]
        came = _served(picture, other, notice, kind, 88 + number % 3)
        host = f"host{row // _PAIRS_A_HOST}.example.org"
        if kind == "expired":
            host = f"gone{number // PAIRS_AN_EXPIRED_HOST}.example.com"
        caption = titles[source.partition("/")[2]]
        planted.append(Planted(f"https://{host}/{source}", caption, kind, seen, came or seen))
    return planted


def write_pool(planted: Sequence[Planted], folder: Path, beam_args: Sequence[str] = ()) -> None:
    """Write ``folder``/metadata, as DataComp publishes it, and ``folder``/shards and scores, of what came."""
    options = ScoreOptions(embeddings=True)
    for name in ("seen", "came"):
        _write_shards(planted, [getattr(each, name) for each in planted], folder / name / "shards")
        score.run(str(folder / name / "shards"), str(folder / name / "scores"), options, beam_args)
    (folder / "metadata").mkdir()
    for path in sorted((folder / "seen" / "scores").glob("*.parquet")):
        scores, shard = pq.read_table(path), pq.read_table(folder / "seen" / "shards" / path.name)
        if scores["uid"] != shard["uid"]:
            raise ValueError(f"{path}: not the shard's rows")
        order = np.random.default_rng(0).permutation(len(scores))
        names = ["uid", "url", "original_width", "original_height", "sha256"]
        metadata = shard.select(names).append_column("clip_l14_similarity_score", scores["similarity"]).take(order)
        pq.write_table(metadata, folder / "metadata" / path.name)
        with np.load(path.with_suffix(".npz")) as stored:
            np.savez(folder / "metadata" / path.with_suffix(".npz").name, l14_img=stored["img"][order])


def _write_shards(planted: Sequence[Planted], images: Sequence[bytes], folder: Path) -> None:
    for start in range(0, len(planted), _SHARD_ROWS):
        shard, part = f"{start // _SHARD_ROWS:05d}", planted[start : start + _SHARD_ROWS]
        columns = {
            "uid": [each.uid for each in part],
            "url": [each.url for each in part],
            "caption": [each.caption for each in part],
            "key": [f"{shard}{row:04d}" for row in range(len(part))],
        }
        with open_shard(str(folder), shard, pa.schema([]), 0) as writer:
            writer.write(pa.table(columns), [_downloaded(image) for image in images[start : start + _SHARD_ROWS]])


def verdicts(folder: Path) -> dict[str, str]:
    """By uid, what a folder of drift says."""
    rows = (
        row
        for path in sorted(folder.glob("*.parquet"))
        for row in tables.read_table(str(path), tables.DRIFT).to_pylist()
    )
    return {row["uid"]: row["drift"] for row in rows}


def _served(picture: Image.Image, other: Image.Image, notice: Image.Image, kind: str, quality: int) -> bytes | None:
    """What came instead, another picture in JPEG of this ``quality``; None where nothing changed."""
    if kind in ("swapped", "expired"):
        return _encoded(other, "JPEG", quality)
    if kind == "placeholder":
        return _encoded(notice, "JPEG", quality)
    share = {"half": 1 / 2, "two": 2 / 3}.get(kind.partition(" ")[0])
    if share:
        picture = picture.resize([max(1, int(side * share)) for side in picture.size], Image.Resampling.BICUBIC)
    form = next((form for form in ("JPEG", "WebP", "GIF", "PNG") if form in kind), None)
    of_kind = int(kind.rpartition(" ")[2]) if "quality" in kind else 80
    return _encoded(picture, form.upper(), of_kind) if form else None


def _notice(picture: Image.Image, number: int) -> Image.Image:
    """A placeholder: every second one a picture, the others a notice on grey."""
    if number % 2:
        return picture
    page = Image.new("RGB", (200 + 10 * number, 200), "lightgrey")
    ImageDraw.Draw(page).text((20, 90), f"image {number} is not available", "black")
    return page


def _encoded(picture: Image.Image, form: str, quality: int = 80) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **({"quality": quality} if form in ("JPEG", "WEBP") else {}))
    return stream.getvalue()


def _downloaded(image: bytes) -> RowOutcome:
    made = process_image(image, DownloadOptions())
    if not isinstance(made, ProcessedImage):
        raise TypeError(f"a picture of the lab data is none: {made.message}")
    columns = {"status": "success", "sha256": hashlib.sha256(image).hexdigest(), "phash": made.phash}
    sizes = {name: getattr(made, name) for name in ("width", "height", "original_width", "original_height")}
    return RowOutcome(columns | sizes, made.image)
