"""Evaluation tasks on disk, in the folders that CLIP_benchmark and DataComp read.

A task is a folder ``wds_NAME`` or ``wds_NAME_test`` with ``test/nshards.txt``, ``test/0.tar`` and so on.
Zero-shot classification has ``classnames.txt``, ``zeroshot_classification_templates.txt`` (``{c}`` stands for
the class), and samples of an image and ``.cls``; retrieval has ``dataset_type.txt``, which says so, and
samples of an image and ``.txt``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schemas import files
from schemas.errors import InputError
from schemas.samples import Sample, iter_samples

L = TypeVar("L")

BUILTIN = "builtin"
_BUILTIN_FOLDER = Path(__file__).parent / "tasks"
_CLASSNAMES = "classnames.txt"
_TEMPLATES = "zeroshot_classification_templates.txt"
_TYPE = "dataset_type.txt"


@dataclass(frozen=True)
class Task:
    """A task whose samples are all there and well formed; the images stay on disk."""

    key: str
    shards: tuple[str, ...]
    ids: tuple[str, ...]
    """Key of each sample, in order; none stands twice."""
    digest: str
    """SHA-256 over the text files and every sample's key and members."""

    @property
    def name(self) -> str:
        return self.key.replace("_", " ")

    def images(self) -> Iterator[tuple[str, bytes]]:
        """(where it lies, for messages, and the encoded image) of each sample, in the order of ``ids``."""
        for shard in self.shards:
            for sample in iter_samples(shard):
                yield _where(shard, sample), sample.image


@dataclass(frozen=True)
class ZeroShotTask(Task):
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    labels: tuple[int, ...]
    """Index of each sample's class."""


@dataclass(frozen=True)
class RetrievalTask(Task):
    captions: tuple[tuple[str, ...], ...]
    """Captions of each sample, at least one."""


def task_key(folder: str) -> str:
    """NAME of a folder ``wds_NAME`` or ``wds_NAME_test``; a bare NAME is left as it is."""
    return files.name_of(folder).removeprefix("wds_").removesuffix("_test")


def find_tasks(data: str, names: Sequence[str] = ()) -> list[str]:
    """Task folders of ``data`` in order of name: those of ``names``, with or without ``wds_``, or else all.

    ``builtin`` stands for the tasks that come with the package. A name that is not there is an InputError.
    """
    root = str(_BUILTIN_FOLDER) if data == BUILTIN else data
    found = [folder for folder in files.list_folders(root) if files.name_of(folder).startswith("wds_")]
    folders = {task_key(folder): folder for folder in found}
    if len(folders) < len(found):
        raise InputError(f"{data}: two folders of one task, wds_NAME and wds_NAME_test; remove one")
    if not folders:
        raise InputError(f"{data}: no task folder (wds_NAME) there")
    wanted = {task_key(name) for name in names} or set(folders)
    if unknown := sorted(wanted - set(folders)):
        raise InputError(f"{data}: no task {unknown[0]!r} there; it has {', '.join(folders)}")
    return [folder for key, folder in folders.items() if key in wanted]


def read_task(folder: str) -> ZeroShotTask | RetrievalTask:
    """Read a task folder but for its images, and check it whole; what is wrong with it is an InputError."""
    type_path = files.join(folder, _TYPE)
    kind = _read_text(type_path).strip() if files.exists(type_path) else ""
    shards = _list_shards(folder)
    if kind == "retrieval":
        ids, captions, digest = _read_samples(shards, _captions)
        return RetrievalTask(task_key(folder), shards, ids, digest, captions)
    if kind not in ("", "classification"):
        raise InputError(f"{type_path}: {kind!r} is not a type of task known here (retrieval, classification)")
    classnames = _read_lines(files.join(folder, _CLASSNAMES))
    templates = _read_lines(files.join(folder, _TEMPLATES))
    for number, template in enumerate(templates, 1):
        if "{c}" not in template:
            raise InputError(f"{files.join(folder, _TEMPLATES)}: line {number} has no {{c}}")
    ids, labels, digest = _read_samples(shards, lambda where, sample: _label(where, sample, len(classnames)))
    digest = files.sha256_text(digest, len(classnames), *classnames, *templates)
    return ZeroShotTask(task_key(folder), shards, ids, digest, classnames, templates, labels)


def _list_shards(folder: str) -> tuple[str, ...]:
    """The tar files of ``folder``, which must be 0.tar up to the number in nshards.txt."""
    path = files.join(folder, "test", "nshards.txt")
    text = _read_text(path).strip()
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"{path}: {text!r} is not a number of tar files")
    expected = [f"{number}.tar" for number in range(int(text))]
    found = {files.name_of(tar) for tar in files.list_files(files.join(folder, "test"), ".tar")}
    if odd := sorted(found.symmetric_difference(expected)):
        what = "is missing" if odd[0] in expected else "is beyond it"
        raise InputError(f"{path}: {text} tar files expected, but {odd[0]} {what}")
    return tuple(files.join(folder, "test", name) for name in expected)


def _read_samples(
    shards: tuple[str, ...], label_of: Callable[[str, Sample], L]
) -> tuple[tuple[str, ...], tuple[L, ...], str]:
    """Keys, labels and digest of the samples of ``shards``; each must have an image and a key of its own."""
    labels: dict[str, L] = {}
    digest = hashlib.sha256()
    for shard in shards:
        for sample in iter_samples(shard):
            where = _where(shard, sample)
            if sample.key in labels:
                raise InputError(f"{where}: the key stands twice in the task")
            try:
                _ = sample.image
            except InputError as error:
                raise InputError(f"{shard}: {error}") from error
            labels[sample.key] = label_of(where, sample)
            for extension, data in sorted(sample.members.items()):
                digest.update(f"{sample.key}.{extension} {len(data)}\0".encode() + data)
    if not labels:
        raise InputError(f"{shards[0]}: no samples in the task's tar files")
    return tuple(labels), tuple(labels.values()), digest.hexdigest()


def _label(where: str, sample: Sample, classes: int) -> int:
    text = _member(where, sample, "cls").strip()
    if not (text.isascii() and text.isdecimal()) or int(text) >= classes:
        raise InputError(f"{where}: .cls is {text!r}, not the index of one of the {classes} classes")
    return int(text)


def _captions(where: str, sample: Sample) -> tuple[str, ...]:
    """One caption a line, split at the line feed alone; blank lines are none."""
    captions = tuple(line for line in _member(where, sample, "txt").split("\n") if line.strip())
    if not captions:
        raise InputError(f"{where}: .txt has no caption")
    return captions


def _member(where: str, sample: Sample, extension: str) -> str:
    if extension not in sample.members:
        raise InputError(f"{where}: no .{extension} member")
    return _decode(f"{where}: .{extension}", sample.members[extension])


def _read_lines(path: str) -> tuple[str, ...]:
    lines = tuple(line.rstrip("\r") for line in _read_text(path).removesuffix("\n").split("\n"))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{path}: line {number} is empty")
    return lines


def _read_text(path: str) -> str:
    return _decode(path, files.read_bytes(path))


def _decode(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8") from error


def _where(shard: str, sample: Sample) -> str:
    return f"{shard}: sample {sample.key}"
