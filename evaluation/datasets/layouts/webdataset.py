"""Tar files as CLIP_benchmark and DataComp lay them out.

A folder ``wds_NAME`` or ``wds_NAME_test`` holds ``test/nshards.txt``, ``test/0.tar`` and so on, and ``train/``
likewise. Classification has ``classnames.txt``, ``zeroshot_classification_templates.txt`` (``{c}`` stands for the
class), and samples of an image and ``.cls``; retrieval has ``dataset_type.txt``, which says so, and samples of an image
and ``.txt``, or ``.json`` with the captions; multilabel likewise, and ``.npy``. ``filenames.txt``, which is ours, names
the samples' source files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from clipsieve.evaluation.datasets.imagenet.classes import ClassSet
from clipsieve.evaluation.datasets.layouts.split import SamplesDigest, Split, unique_ids
from clipsieve.evaluation.datasets.layouts.tars import IMAGE, TarSample, iter_tar_samples
from clipsieve.evaluation.datasets.layouts.text import (
    decode_text,
    listed_captions,
    read_lines,
    read_names,
    read_templates,
    read_text,
    split_captions,
)
from clipsieve.evaluation.datasets.task import ImageStream, Samples
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError, one_line

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
        () if may_lack and not files.exists(names) else read_names(names),
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
    folder: str, shards: tuple[str, ...], label_of: Callable[[str, TarSample], Any]
) -> tuple[Samples, list[Any]]:
    """The samples of ``shards`` and their labels; each must have an image."""
    keys: list[str] = []
    labels: list[Any] = []
    counts = []
    digest = SamplesDigest()
    for shard in shards:
        before = len(labels)
        for sample in iter_tar_samples(shard):
            where = _where(shard, sample)
            digest.add(sample.key, _member(where, sample, IMAGE))
            labels.append(label_of(where, sample))
            keys.append(sample.key)
        counts.append(len(labels) - before)
    if not labels:
        raise InputError(f"{shards[0]}: no samples in the task's tar files")
    return Samples(unique_ids(_ids(folder, keys)), _stream(shards, counts), digest.hex()), labels


def _ids(folder: str, keys: Sequence[str]) -> Sequence[str]:
    """The keys, or the names in filenames.txt where it is there."""
    path = files.join(folder, _FILENAMES)
    if not files.exists(path):
        return keys
    names = read_lines(path)
    if len(names) != len(keys):
        raise InputError(f"{path}: {len(names):,} names, but the tar files hold {len(keys):,} samples")
    return names


def _stream(shards: tuple[str, ...], counts: list[int]) -> ImageStream:
    def images(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
        first = 0
        for shard, count in zip(shards, counts, strict=True):
            if first < stop and start < first + count:
                for place, sample in enumerate(iter_tar_samples(shard), first):
                    if start <= place < stop:
                        where = _where(shard, sample)
                        yield where, _member(where, sample, IMAGE)
            first += count

    return images


def _label(where: str, sample: TarSample, classes: int) -> int:
    text = _text(where, sample, "cls").strip()
    if not (text.isascii() and text.isdecimal()) or int(text) >= classes:
        raise InputError(f"{where}: .cls is {text!r}, not the index of one of the {classes} classes")
    return int(text)


def _captions(where: str, sample: TarSample) -> tuple[str, ...]:
    if "txt" not in sample.members and "json" in sample.members:
        return _json_captions(where, _text(where, sample, "json"))
    captions = split_captions(_text(where, sample, "txt"))
    if not captions:
        raise InputError(f"{where}: .txt has no caption")
    return captions


def _json_captions(where: str, text: str) -> tuple[str, ...]:
    """Of a list of captions, or an object that has it, or one caption, as ``captions`` or ``caption``."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: .json cannot be read ({one_line(error)})") from error
    if isinstance(given, dict):
        given = given.get("captions", given.get("caption"))
    captions = listed_captions(given)
    if not captions:
        raise InputError(f"{where}: .json has no caption")
    return captions


def _vector(where: str, sample: TarSample, classes: int) -> np.ndarray:
    """bool[C] from a .npy member of numbers, 0 for a class that the image is not of."""
    try:
        vector = np.load(io.BytesIO(_member(where, sample, "npy")), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{where}: .npy cannot be read ({error})") from error
    if vector.shape != (classes,):
        raise InputError(f"{where}: .npy has the shape {vector.shape}, not ({classes},), a value a class")
    return vector > 0


def _text(where: str, sample: TarSample, part: str) -> str:
    return decode_text(f"{where}: .{part}", _member(where, sample, part))


def _member(where: str, sample: TarSample, part: str) -> bytes:
    if part not in sample.members:
        raise InputError(f"{where}: no {part if part == IMAGE else f'.{part}'} member")
    return sample.members[part]


def _where(shard: str, sample: TarSample) -> str:
    return f"{shard}: sample {sample.key}"
