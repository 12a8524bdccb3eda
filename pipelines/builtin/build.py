"""Puts together what the builtin reference is trained on, and what it never sees: the quickstart's pairs and tasks.

    python -m clipsieve.pipelines.builtin.pool --data LAB --out build/builtin

``LAB`` holds openclipart.parquet and emoji.parquet. Openclipart is split by groups of near-duplicates: three in ten
are held out; of these, public domain alone and at most twelve pairs a title, three quarters become
``quickstart/pairs.parquet`` and the rest the tasks ``tasks/wds_*``. All other pictures train the reference, less each
that is a near-duplicate of any held-out one. The split is a hash of the group, so it depends on nothing but the data.
Blank pictures are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance
from tqdm import tqdm

from clipsieve.pipelines.builtin.near_duplicates import group_near_duplicates, near_duplicates
from clipsieve.pipelines.images.phash import perceptual_hash
from clipsieve.schemas import files, samples, strict_json
from clipsieve.schemas.images import decode_image
from clipsieve.schemas.uid import uid_of

HELD_OUT = 0.30
TASKS = 0.075
"""The groups whose hash is below it become tasks; from there to HELD_OUT, the quickstart's pairs."""
PAIRS_PER_TITLE = 12
TASK_SIDE = 96
TRAINING_SIDE = 112
TEMPLATES = ("{c}", "clip art of {c}", "a drawing of {c}", "{c} icon")
CLASSES = {
    "animals": "animal",
    "buildings": "building",
    "computer": "computer",
    "food": "food",
    "geography": "map",
    "office": "office",
    "people": "person",
    "plants": "plant",
    "recreation/music": "music",
    "recreation/sports": "sport",
    "shapes/arrows": "arrow",
    "signs_and_symbols/flags": "flag",
    "special/patterns": "pattern",
    "tools": "tool",
    "transportation": "transport",
}
"""Folders of openclipart and the class that the zero-shot task makes of each."""


@dataclass(frozen=True)
class PoolPicture:
    """One row of the lab data."""

    id: str
    image: bytes
    title: str
    captions: tuple[str, ...]
    creator: str
    is_public_domain: bool
    is_openclipart: bool
    pixels: np.ndarray = field(repr=False)
    """As decoded: RGB, uint8[H, W, 3]."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the builtin reference's pool")
    parser.add_argument("--data", required=True, help="folder with openclipart.parquet and emoji.parquet")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    pictures = [p for p in (*read_openclipart(options.data), *read_emoji(options.data)) if not is_blank(p)]
    split = split_pictures(pictures)
    places = {name: place_of(name) for name in split.groups}
    train = [p for p, seen in zip(pictures, split.is_train, strict=True) if seen]
    held_out = [
        (p, g) for p, g, held in zip(pictures, split.groups, split.is_held_out, strict=True) if held and p.title
    ]
    fit = [(p, g) for p, g in held_out if p.is_public_domain]
    fit.sort(key=lambda pair: hashlib.sha256(pair[0].id.encode()).digest())
    tasks = [p for p, _ in capped(pair for pair in fit if places[pair[1]] < TASKS)]
    pool = list(capped(pair for pair in fit if places[pair[1]] >= TASKS))
    write_training_shard(train, files.join(options.out, "shards"))
    write_pairs(pool, files.join(options.out, "quickstart", "pairs.parquet"))
    write_pairs(held_out, files.join(options.out, "held_out.parquet"))
    write_retrieval(tasks, files.join(options.out, "tasks", "wds_openclipart_titles"))
    write_zero_shot(tasks, files.join(options.out, "tasks", "wds_openclipart_folders"))
    print(f"train {len(train)} pictures, quickstart {len(pool)} pairs, tasks {len(tasks)} pictures")


def read_openclipart(folder: str) -> Iterator[PoolPicture]:
    """Openclipart: its title is the caption; keywords, description and file name are further captions to train on."""
    for row in tqdm(pq.read_table(files.join(folder, "openclipart.parquet")).to_pylist(), "openclipart"):
        title = row["title"].strip()
        keywords = [_words(word) for word in row["keywords"] if not re.match("hash|0x", word.lower())]
        path, _, name = row["id"].rsplit(".", 1)[0].rpartition("/")
        name = re.sub(r"\d+", " ", _words(name))
        captions = (
            title,
            f"{title} {' '.join(keywords[:6])}",
            name,
            f"{_words(path)} {name}",
            html.unescape(row["description"])[:160],
            *keywords[:5],
        )
        yield PoolPicture(
            row["id"],
            row["image"],
            title,
            _distinct(captions),
            row["creator"],
            "publicdomain" in row["license"].lower(),
            True,
            decode_rgb(row["image"], row["id"]),
        )


def read_emoji(folder: str) -> Iterator[PoolPicture]:
    """Emoji of two makers: name, and name with short names and categories."""
    for row in tqdm(pq.read_table(files.join(folder, "emoji.parquet")).to_pylist(), "emoji"):
        kinds = _words(f"{row['category']} {row['subcategory']}")
        shorts = " ".join(_words(name) for name in row["short_names"])
        captions = (row["name"], f"{row['name']} {shorts}", f"{row['name']} {kinds}", row["name"].split()[0])
        yield PoolPicture(
            row["id"],
            row["image"],
            row["name"],
            _distinct(captions),
            row["vendor"],
            False,
            False,
            decode_rgb(row["image"], row["id"]),
        )


def is_blank(picture: PoolPicture) -> bool:
    """Whether a picture is of one colour: a drawing that failed to render, in which there is nothing to match."""
    return bool((picture.pixels == picture.pixels[0, 0]).all())


@dataclass(frozen=True)
class HeldOutSplit:
    """What each of N pictures is for. Held-out pictures and those that train are never near-duplicates."""

    groups: list[str]
    """The group of near-duplicates, named by its first member's id."""
    is_held_out: np.ndarray
    is_train: np.ndarray
    """bool[N] both; neither for a picture that is near a held-out one."""


def split_pictures(pictures: list[PoolPicture]) -> HeldOutSplit:
    """Hold out openclipart by groups of near-duplicates, and train on what is near nothing that is held out."""
    hashes = np.array([int(perceptual_hash(p.pixels), 16) for p in pictures], np.uint64)
    small = [Image.fromarray(p.pixels).resize((16, 16), Image.Resampling.BILINEAR) for p in pictures]
    near = near_duplicates(hashes, np.stack([np.asarray(image, np.float32).ravel() / 255 for image in small]))
    groups = [pictures[first].id for first in group_near_duplicates(near)]
    held_out = np.array([p.is_openclipart and place_of(g) < HELD_OUT for p, g in zip(pictures, groups, strict=True)])
    return HeldOutSplit(groups, held_out, near @ held_out == 0)


def place_of(group: str) -> float:
    """A group's place in [0, 1), by its name alone."""
    return int.from_bytes(hashlib.sha256(f"0:{group}".encode()).digest()[:4], "big") / 2**32


def capped(pictures: Iterable[tuple[PoolPicture, str]]) -> Iterator[tuple[PoolPicture, str]]:
    """At most twelve pictures a title: a sixth of openclipart is called "gramastar"."""
    seen: Counter[str] = Counter()
    for picture, group in pictures:
        seen[picture.title] += 1
        if seen[picture.title] <= PAIRS_PER_TITLE:
            yield picture, group


def write_pairs(pool: list[tuple[PoolPicture, str]], path: str) -> None:
    """Pairs with their images as they are, and the group of near-duplicates that each is of."""
    rows = [{"id": p.id, "title": p.title, "creator": p.creator, "group": group, "image": p.image} for p, group in pool]
    with files.atomic_write(path) as stream:
        pq.write_table(pa.Table.from_pylist(rows), stream, compression="zstd")


def write_retrieval(pictures: list[PoolPicture], folder: str) -> None:
    """A retrieval task of pictures whose titles differ, in CLIP_benchmark's layout."""
    by_title = {p.title.lower(): p for p in reversed(pictures)}
    members = [(_small(p), {"txt": p.title.encode()}) for p in by_title.values()]
    _write_task(folder, members, {"dataset_type.txt": "retrieval"})


def write_zero_shot(pictures: list[PoolPicture], folder: str) -> None:
    """A zero-shot task: which of openclipart's folders a picture is from, in CLIP_benchmark's layout."""
    members = []
    for picture in pictures:
        for label, prefix in enumerate(CLASSES):
            if picture.id.startswith(prefix + "/"):
                members.append((_small(picture), {"cls": str(label).encode()}))
    texts = {
        "classnames.txt": "\n".join(CLASSES.values()),
        "zeroshot_classification_templates.txt": "\n".join(TEMPLATES),
    }
    _write_task(folder, members, texts)


def write_training_shard(pictures: list[PoolPicture], folder: str) -> None:
    """One shard in which every caption of a picture is a pair of its own, and its Parquet as `train` reads it.

    With few pictures the towers soon know them by heart, so a picture is turned and tinted anew for each caption.
    """
    pairs = [
        (_webp(_varied(picture, number)), picture.id, caption)
        for picture in tqdm(pictures, "training pairs")
        for number, caption in enumerate(picture.captions)
    ]
    members = [(image, {"txt": caption.encode()}) for image, _, caption in pairs]
    tar = files.join(folder, "00000.tar")
    _write_tar(tar, members)
    rows = [
        {
            "uid": uid_of(source, caption),
            "key": s.key,
            "status": "success",
            "tar_offset": s.offset,
            "tar_size": s.size,
        }
        for (_, source, caption), s in zip(pairs, samples.iter_samples(tar), strict=True)
    ]
    with files.atomic_write(files.join(folder, "00000.parquet")) as stream:
        pq.write_table(pa.Table.from_pylist(rows), stream)
    files.write_bytes(files.join(folder, "00000_stats.json"), strict_json.dumps({"successes": len(rows)}).encode())


def _write_task(folder: str, members: list[tuple[bytes, dict[str, bytes]]], texts: dict[str, str]) -> None:
    for name, text in {**texts, "test/nshards.txt": "1"}.items():
        files.write_bytes(files.join(folder, name), text.encode() + b"\n")
    _write_tar(files.join(folder, "test", "0.tar"), members)


def _write_tar(path: str, members: list[tuple[bytes, dict[str, bytes]]]) -> None:
    """A tar of samples: each a WebP image and its other members by extension."""
    with (
        files.atomic_write(path) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for number, (image, others) in enumerate(members):
            for extension, data in {"webp": image, **others}.items():
                member = tarfile.TarInfo(f"s{number:07d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def decode_rgb(data: bytes, where: str) -> np.ndarray:
    """An encoded picture -> uint8[H, W, 3], transparency on white."""
    rgba = decode_image(data, where).convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def _small(picture: PoolPicture) -> bytes:
    image = Image.fromarray(picture.pixels)
    image.thumbnail((TASK_SIDE, TASK_SIDE), Image.Resampling.LANCZOS)
    return _webp(image)


def _varied(picture: PoolPicture, number: int) -> Image.Image:
    """The picture at the training size; but for number 0, turned by up to 12 degrees and tinted by up to a third."""
    image = Image.fromarray(picture.pixels)
    image.thumbnail((TRAINING_SIDE, TRAINING_SIDE), Image.Resampling.LANCZOS)
    if number == 0:
        return image
    seed = hashlib.sha256(f"{picture.id}:{number}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(seed[:8], "big")).uniform(-1, 1, 4)
    image = image.rotate(12 * draw[0], Image.Resampling.BILINEAR, fillcolor=image.getpixel((0, 0)))
    for enhance, amount in zip(
        (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast), draw[1:], strict=True
    ):
        image = enhance(image).enhance(1 + amount / 3)
    return image


def _webp(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=90, method=2)
    return stream.getvalue()


def _distinct(captions: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in captions if text.strip()))


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


if __name__ == "__main__":
    main()
