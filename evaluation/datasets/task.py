"""What a task is, wherever it lies: its samples' ids and labels, and a stream of its images, which stay on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

ImageStream = Callable[[int, int], Iterator[tuple[str, bytes]]]
"""stream(start, stop): (where it lies, for messages, and the encoded image) of the samples start..stop - 1."""


@dataclass(frozen=True)
class Samples:
    """One split of a data set on disk, all there and well formed."""

    ids: tuple[str, ...]
    """Name of each sample, in order; none is duplicated."""
    stream: ImageStream
    digest: str
    """SHA-256 over every image's id and bytes: equal digests, equal features."""
    border: int = 0
    """Pixels to cut off on each side of every image."""

    def only(self, rows: np.ndarray) -> Samples:
        """The samples of ``rows`` alone, which ascend."""

        def stream(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
            own = rows[start:stop].tolist()
            wanted = set(own)
            for place, image in enumerate(self.stream(own[0], own[-1] + 1), own[0]):
                if place in wanted:
                    yield image

        digest = files.sha256_text(self.digest, *rows.tolist())
        return Samples(tuple(self.ids[row] for row in rows), stream, digest, self.border)


@dataclass(frozen=True)
class Task:
    """A data set's split and what is asked of it."""

    key: str
    samples: Samples
    digest: str
    """SHA-256 over the images, the labels and what the task's prompts are made from."""
    train: Callable[[], Task]
    """Reads the training split as the same kind of task, for the protocols that learn from it."""

    @property
    def name(self) -> str:
        return self.key.replace("_", " ")

    @property
    def ids(self) -> tuple[str, ...]:
        return self.samples.ids

    def images(self) -> Iterator[tuple[str, bytes]]:
        """(where it lies, for messages, and the encoded image) of each sample, in the order of ``ids``."""
        return self.samples.stream(0, len(self.ids))


@dataclass(frozen=True)
class ClassificationTask(Task):
    """Each image is of one class, or of one of several that are all right (ReaL)."""

    classnames: tuple[str, ...]
    """What the prompts name."""
    templates: tuple[str, ...]
    """The folder's own prompts; none where it brings none."""
    labels: tuple[tuple[int, ...], ...]
    """The right classes of each sample; a sample that has none is left out of the metrics."""
    class_of: tuple[int, ...]
    """Class of each name: ObjectNet has several names of one class, elsewhere each has its own."""

    @property
    def classes(self) -> int:
        return max(self.class_of) + 1

    @property
    def has_one_label(self) -> bool:
        return all(len(right) == 1 for right in self.labels)

    def label_array(self) -> np.ndarray:
        """int64[N]: the class of each sample, where each has just one."""
        return np.array([right for (right,) in self.labels], np.int64)


@dataclass(frozen=True)
class RetrievalTask(Task):
    captions: tuple[tuple[str, ...], ...]
    """Captions of each sample, at least one."""


@dataclass(frozen=True)
class MultilabelTask(Task):
    """Each image is of any number of classes."""

    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    is_of: np.ndarray
    """bool[N, C]."""


def training_split(task: ClassificationTask) -> ClassificationTask:
    """The task's training split, which must be of the same classes and have one label an image."""
    train = task.train()
    if not isinstance(train, ClassificationTask) or train.classnames != task.classnames:
        raise InputError(f"{task.key}: its training split is not of the same classes; give both splits the same ones")
    return train
