"""Tar files as CLIP_benchmark and DataComp lay them out.

A folder ``wds_NAME`` or ``wds_NAME_test`` holds ``test/nshards.txt``, ``test/0.tar`` and so on, and ``train/``
likewise. Classification has ``classnames.txt``, ``zeroshot_classification_templates.txt`` (``{c}`` stands for the
class), and samples of an image and ``.cls``; retrieval has ``dataset_type.txt``, which says so, and samples of an image
and ``.txt``; multilabel likewise, and ``.npy``. ``filenames.txt``, which is ours, names the samples' source files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from clipsieve.evaluation.datasets.imagenet.classes import ClassSet
from clipsieve.evaluation.datasets.layouts.split import SamplesDigest, Split
from clipsieve.evaluation.datasets.layouts.text import (
    decode_text,
    read_lines,
    read_templates,
    read_text,
    split_captions,
)
from clipsieve.evaluation.datasets.task import ImageStream, Samples
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.samples import Sample, iter_samples

CLASSNAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
_FILENAMES = "filenames.txt"
_TYPE = "dataset_type.txt"


def read(folder: str, split: str, classes: ClassSet | None) -> Split:
    """Read a folder of tar files but for its images; see `clipsieve.evaluation.datasets.layouts.read.read_split`."""
    type_path = files.join(folder, _TYPE)
    kind = read_text(type_path).strip().lower() if files.exists(type_path) else "classification"
    shards = _list_shards(folder, split)
    if kind == "retrieval":
        samples, captions = _read_samples(folder, shards, _captions)
        return Split(samples, captions=tuple(captions))
    if kind not in ("classification", "multilabel"):
        raise InputError(f"{type_path}: {kind!r} is not a type of task (classification, retrieval, multilabel)")
    names, templates = _texts(folder, classes)
    count = classes.count if classes and not names else len(names)
    if kind == "multilabel":
        samples, vectors = _read_samples(folder, shards, lambda where, sample: _vector(where, sample, count))
        return Split(samples, is_of=np.array(vectors, bool), classnames=names, templates=templates)
    samples, labels = _read_samples(folder, shards, lambda where, sample: _label(where, sample, count))
    return Split(samples, labels=tuple(labels), classnames=names, templates=templates)


def _texts(folder: str, classes: ClassSet | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and templates; a set of ImageNet's may do without its own."""
    names, templates = files.join(folder, CLASSNAMES), files.join(folder, TEMPLATES)
    may_lack = classes is not None
    return (
        () if may_lack and not files.exists(names) else read_lines(names),
        () if may_lack and not files.exists(templates) else read_templates(templates),
    )


def _list_shards(folder: str, split: str) -> tuple[str, ...]:
    """The tar files of a split, which must be 0.tar up to the number in nshards.txt."""
    path = files.join(folder, split, "nshards.txt")
    text = read_text(path).strip()
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"{path}: {text!r} is not a number of tar files")
    expected = [f"{number}.tar" for number in range(int(text))]
    found = {files.name_of(tar) for tar in files.list_files(files.join(folder, split), ".tar")}
    if odd := sorted(found.symmetric_difference(expected)):
        what = "is missing" if odd[0] in expected else "is beyond it"
        raise InputError(f"{path}: {text} tar files expected, but {odd[0]} {what}")
    return tuple(files.join(folder, split, name) for name in expected)


def _read_samples(
    folder: str, shards: tuple[str, ...], label_of: Callable[[str, Sample], Any]
) -> tuple[Samples, list[Any]]:
    """The samples of ``shards`` and their labels; each must have an image and a key of its own."""
    labels: dict[str, Any] = {}
    counts = []
    digest = SamplesDigest()
    for shard in shards:
        before = len(labels)
        for sample in iter_samples(shard):
            where = _where(shard, sample)
            if sample.key in labels:
                raise InputError(f"{where}: the key is duplicated in the task")
            labels[sample.key] = label_of(where, sample)
            digest.add(sample.key, _image(shard, sample))
        counts.append(len(labels) - before)
    if not labels:
        raise InputError(f"{shards[0]}: no samples in the task's tar files")
    return Samples(_ids(folder, tuple(labels)), _stream(shards, counts), digest.hex()), list(labels.values())


def _ids(folder: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys, or the names in filenames.txt where it is there."""
    path = files.join(folder, _FILENAMES)
    if not files.exists(path):
        return keys
    names = read_lines(path)
    if len(set(names)) != len(keys):
        raise InputError(f"{path}: {len(set(names)):,} names, but the tar files hold {len(keys):,} samples")
    return names


def _stream(shards: tuple[str, ...], counts: list[int]) -> ImageStream:
    def images(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
        first = 0
        for shard, count in zip(shards, counts, strict=True):
            if first < stop and start < first + count:
                for place, sample in enumerate(iter_samples(shard), first):
                    if start <= place < stop:
                        yield _where(shard, sample), sample.image
            first += count

    return images


def _image(shard: str, sample: Sample) -> bytes:
    try:
        return sample.image
    except InputError as error:
        raise InputError(f"{shard}: {error}") from error


def _label(where: str, sample: Sample, classes: int) -> int:
    text = _member(where, sample, "cls").strip()
    if not (text.isascii() and text.isdecimal()) or int(text) >= classes:
        raise InputError(f"{where}: .cls is {text!r}, not the index of one of the {classes} classes")
    return int(text)


def _captions(where: str, sample: Sample) -> tuple[str, ...]:
    captions = split_captions(_member(where, sample, "txt"))
    if not captions:
        raise InputError(f"{where}: .txt has no caption")
    return captions


def _vector(where: str, sample: Sample, classes: int) -> np.ndarray:
    """bool[C] from a .npy member of numbers, 0 for a class that the image is not of."""
    if "npy" not in sample.members:
        raise InputError(f"{where}: no .npy member")
    try:
        vector = np.load(io.BytesIO(sample.members["npy"]), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{where}: .npy cannot be read ({error})") from error
    if vector.shape != (classes,):
        raise InputError(f"{where}: .npy has the shape {vector.shape}, not ({classes},), a value a class")
    return vector > 0


def _member(where: str, sample: Sample, extension: str) -> str:
    if extension not in sample.members:
        raise InputError(f"{where}: no .{extension} member")
    return decode_text(f"{where}: .{extension}", sample.members[extension])


def _where(shard: str, sample: Sample) -> str:
    return f"{shard}: sample {sample.key}"
