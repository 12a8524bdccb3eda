"""Evaluation tasks under a data folder: which are there, and each as a task once it is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from clipsieve.evaluation.datasets.catalogue import BY_SLUG, REAL, Known, slug_of
from clipsieve.evaluation.datasets.imagenet.classes import CLASS_SETS, ClassSet
from clipsieve.evaluation.datasets.imagenet.real import real_labels
from clipsieve.evaluation.datasets.layouts.find import Layout, layout_of
from clipsieve.evaluation.datasets.layouts.read import read_split
from clipsieve.evaluation.datasets.layouts.split import Split
from clipsieve.evaluation.datasets.task import ClassificationTask, MultilabelTask, RetrievalTask, Task
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

BUILTIN = "builtin"
_BUILTIN_FOLDER = Path(__file__).parents[1] / "tasks"


def data_sets(data: str, faults: dict[str, str] | None = None) -> dict[str, str]:
    """The data sets directly in ``data``, path by slug, in order of name; ``builtin`` is what the package brings.

    Two of one slug are an InputError; where ``faults`` is given they are left out, and it gets the reason by the slug.
    """
    twins: dict[str, str] = {}
    root = str(_BUILTIN_FOLDER) if data == BUILTIN else data
    found: dict[str, str] = {}
    for path in sorted([*files.list_folders(root), *files.list_files(root, ".parquet")]):
        slug = slug_of(files.name_of(path))
        if layout_of(path) is None:
            continue
        if slug in found:
            pair = f"{files.name_of(found[slug])} and {files.name_of(path)}"
            twins[slug] = f"{data}: {pair} are one task; remove one"
        found[slug] = path
    if twins and faults is None:
        raise InputError(next(iter(twins.values())))
    if faults is not None:
        faults |= twins
    return {slug: path for slug, path in found.items() if slug not in twins}


def find_tasks(data: str, names: Sequence[str] = (), faults: dict[str, str] | None = None) -> dict[str, str]:
    """Path of each task's data by the task's slug, in order of name: those of ``names``, or else all data sets.

    A name may be a folder's or DataComp's. One that is not there is an InputError that says where it is to be had;
    ``faults`` is as `data_sets` has it, of the tasks that are wanted.
    """
    twins: dict[str, str] = {}
    found = data_sets(data, None if faults is None else twins)
    if not found and not twins:
        raise InputError(f"{data}: no task there (a folder wds_NAME, a folder of classes, or NAME.parquet)")
    wanted = sorted({slug_of(name) for name in names} or {*found, *twins})
    if faults is not None:
        faults |= {slug: twins[_data_slug(slug)] for slug in wanted if _data_slug(slug) in twins}
    wanted = [slug for slug in wanted if _data_slug(slug) not in twins]
    for slug in wanted:
        known = BY_SLUG.get(slug)
        if _data_slug(slug) not in found:
            hint = f"; get {known.where}" if known else f"; it has {', '.join(found)}"
            raise InputError(f"{data}: no task {slug!r} there{hint}")
    return {slug: found[_data_slug(slug)] for slug in wanted}


def _data_slug(slug: str) -> str:
    """The slug of the data set that the task asks about."""
    return BY_SLUG[slug].data_slug if slug in BY_SLUG else slug


def read_task(path: str, slug: str = "", split: str = "test", imagenet_names: bool = False) -> Task:
    """Read the task ``slug`` (by default: the data set's own) at ``path`` and check it whole.

    ``imagenet_names``: a set of ImageNet's is requested by ImageNet's names, whatever names the folder brings; of
    ObjectNet that is another protocol (see `clipsieve.evaluation.datasets.imagenet`). What is wrong with the data, the
    counts of a known task among it, is an InputError.
    """
    slug = slug or slug_of(files.name_of(path))
    known = BY_SLUG.get(slug)
    make_classes = CLASS_SETS.get(known.data_slug) if known else None
    classes = make_classes() if make_classes else None
    read = read_split(path, split, classes)
    if classes and classes.border and layout_of(path) is not Layout.WEBDATASET:
        read = replace(read, samples=replace(read.samples, border=classes.border))
    train = cache(partial(read_task, path, slug, "train", imagenet_names))
    task = _task(slug, read, classes if imagenet_names or not read.classnames else None, train)
    if known and split == "test":
        _check_counts(path, known, task)
    if slug == REAL and split == "test" and isinstance(task, ClassificationTask):
        return _with_real_labels(task)
    return task


def _task(slug: str, read: Split, classes: ClassSet | None, train: Callable[[], Task]) -> Task:
    if read.captions:
        return RetrievalTask(slug, read.samples, _digest(read, read.captions), train, read.captions)
    names = classes.names if classes else read.classnames
    digest = _digest(read, read.labels, names, read.templates, classes.class_of if classes else "")
    if read.is_of is not None:
        digest = files.sha256_text(digest, read.is_of.tobytes().hex())
        return MultilabelTask(slug, read.samples, digest, train, names, read.templates, read.is_of)
    return ClassificationTask(
        slug,
        read.samples,
        digest,
        train,
        names,
        read.templates,
        labels=tuple((label,) for label in read.labels),
        class_of=classes.class_of if classes else tuple(range(len(names))),
    )


def _digest(read: Split, *parts: object) -> str:
    return files.sha256_text(read.samples.digest, *(repr(part) for part in parts))


def _check_counts(path: str, known: Known, task: Task) -> None:
    if len(task.ids) != known.images:
        raise InputError(f"{path}: {len(task.ids):,} images, but {known.title} has {known.images:,}; get {known.where}")
    if isinstance(task, RetrievalTask):
        captions = sum(len(texts) for texts in task.captions)
        if captions != known.captions:
            raise InputError(f"{path}: {captions:,} captions, but {known.title} has {known.captions:,}")
    classes = _classes(task)
    if classes != known.classes:
        raise InputError(f"{path}: {classes:,} class names, but {known.title} has {known.classes:,} classes")


def _classes(task: Task) -> int:
    if isinstance(task, ClassificationTask):
        return task.classes
    return len(task.classnames) if isinstance(task, MultilabelTask) else 0


def _with_real_labels(task: ClassificationTask) -> ClassificationTask:
    labels = real_labels(task.ids)
    digest = files.sha256_text(task.digest, repr(labels))
    return replace(task, labels=labels, digest=digest)
