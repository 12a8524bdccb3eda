"""Images read for dedup: a thumbnail of each pair's, the hashes that its shard lacks, and all that tells an evaluation
image by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clipsieve.pipelines.dedup.thumbnail import SIDE, thumbnail_of
from clipsieve.pipelines.images.phash import perceptual_hash
from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.score.embed import embed
from clipsieve.pipelines.shards.rows import iter_shard_samples
from clipsieve.pipelines.shards.scan import scan_samples
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.naming import IMAGE_EXTENSIONS, MemberNaming
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.samples import Sample, stream_samples
from clipsieve.schemas.shards import tar_of

_TASK_PREFIX, _TASK_SUFFIX = "wds_", "_test"
TASK_NAMING = MemberNaming(captions=("cls", "txt"))
"""How the tars of tasks name their members: in any way that webdataset allows."""
_BATCH = 64


@dataclass(frozen=True)
class TaskImages:
    """E images of evaluation tasks."""

    names: list[str]
    """TASK:KEY of each."""
    sha256: list[bytes]
    """The first 16 bytes of each file's digest."""
    phash: np.ndarray
    """uint64[E], of the image as `download` would store it."""
    thumbnails: np.ndarray
    """uint8[E, 32, 32, 3]"""
    tars: tuple[str, ...]
    places: np.ndarray
    """As `Pairs` has them."""
    embeddings: np.ndarray | None
    """float16[E, D] under the reference, where one was given."""


HASHES = np.dtype([("sha256", "S16"), ("phash", np.uint64)])
"""The first half of the digest of an image's bytes, and its perceptual hash."""


def hashes_path(scores: str, out: str) -> str:
    """Where `write_thumbnails` writes the hashes of the pairs of a score file."""
    return files.join(out, files.name_of(scores).replace(".parquet", ".hashes"))


def write_thumbnails(scores: str, shards: str, out: str, hashes_too: bool) -> str:
    """Write the thumbnails of one score file's pairs, uint8[N, 32, 32, 3], as an npy of its name; returns its path.

    Next to it, with ``hashes_too``, as an npy too, `HASHES`[N] of the stored images.
    """
    target = files.join(out, files.name_of(scores).replace(".parquet", ".npy"))
    if files.exists(target):
        return target
    rows = tables.read_table(scores, tables.SCORES, ["uid", "shard", "key"])
    places = {
        pair: row for row, pair in enumerate(zip(rows["shard"].to_pylist(), rows["key"].to_pylist(), strict=True))
    }
    thumbnails, hashes = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8), np.zeros(len(rows), HASHES)
    for shard in dict.fromkeys(rows["shard"].to_pylist()):
        tar = tar_of(shards, shard)
        for sample in iter_shard_samples(shards, shard):
            row = places.pop((shard, sample.key), None)
            if row is not None:
                pixels = np.asarray(decode_sample(sample, tar))
                thumbnails[row] = thumbnail_of(pixels)
                if hashes_too:
                    hashes[row] = hashlib.sha256(sample.image).digest()[:16], int(perceptual_hash(pixels), 16)
    if places:
        shard, key = next(iter(places))
        raise InputError(f"{scores}: {len(places)} samples are not in {shards}, the first {shard}/{key}")
    made = {hashes_path(scores, out): hashes} if hashes_too else {}
    for path, content in (made | {target: thumbnails}).items():  # the thumbnails last: they say that all is there
        with files.atomic_write(path) as stream:
            np.save(stream, content)
    return target


def read_task_images(tasks: str, reference: LoadedModel | None) -> TaskImages:
    """The images of the task folders of ``tasks`` (wds_NAME/test/N.tar, CLIP_benchmark's layout).

    Raises InputError where there is no task, or an image of it cannot be read.
    """
    names, digests, hashes, thumbnails, places, embeddings = [], [], [], [], [], []
    tars = list(_task_tars(tasks))
    for number, (task, tar) in enumerate(tars):
        for sample in _task_samples(tar):
            stored, phash = as_stored(sample, tar)
            names.append(f"{task}:{sample.key}")
            digests.append(hashlib.sha256(sample.image).digest()[:16])
            hashes.append(int(phash, 16))
            thumbnails.append(thumbnail_of(np.asarray(decode_sample(stored, tar))))
            places.append((number, sample.offset, sample.size))
        if reference:
            batches = embed(_task_samples(tar), [reference], tar, _BATCH, 1)
            embeddings += [batch.by_reference[0].image.astype(np.float16) for batch in batches]
    return TaskImages(
        names,
        digests,
        np.array(hashes, np.uint64),
        np.stack(thumbnails),
        tuple(tar for _, tar in tars),
        np.array(places, np.int64),
        np.concatenate(embeddings) if reference else None,
    )


def _task_samples(tar: str) -> Iterator[Sample]:
    """The tar's samples that have an image, with their places there."""
    found = [
        sample for sample in scan_samples(tar, TASK_NAMING) if not sample.parts.keys().isdisjoint(IMAGE_EXTENSIONS)
    ]
    samples = stream_samples(((tar, sample.start, sample.end - sample.start) for sample in found), TASK_NAMING)
    for place, sample in zip(found, samples, strict=True):
        yield replace(sample, offset=place.start, size=place.end - place.start)


def as_stored(sample: Sample, tar: str) -> tuple[Sample, str]:
    """A task's sample with the image that `download` would store of it, and its perceptual hash."""
    made = process_image(sample.image, DownloadOptions())
    if not isinstance(made, ProcessedImage):
        raise InputError(f"{tar}: sample {sample.key}: its image cannot be decoded ({made.message})")
    return Sample(sample.key, {"jpg": made.image}, sample.offset, sample.size), made.phash


def digest_of_tasks(tasks: str) -> str:
    """Digest of the tars that `read_task_images` reads."""
    return files.sha256_text(*(f"{task} {files.sha256_file(tar)}" for task, tar in _task_tars(tasks)))


def _task_tars(tasks: str) -> Iterator[tuple[str, str]]:
    found = [folder for folder in files.list_folders(tasks) if files.name_of(folder).startswith(_TASK_PREFIX)]
    tars = [(folder, tar) for folder in found for tar in files.list_files(files.join(folder, "test"), ".tar")]
    if not tars:
        raise InputError(f"{tasks}: no task folder ({_TASK_PREFIX}NAME/test/0.tar) there")
    for folder, tar in tars:
        yield files.name_of(folder).removeprefix(_TASK_PREFIX).removesuffix(_TASK_SUFFIX), tar
