"""A split of a data set as its layout has it, before it is known what is asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from clipsieve.evaluation.datasets.task import Samples


@dataclass(frozen=True)
class Split:
    """The samples, and whichever of labels, captions and vectors they have; the others are empty."""

    samples: Samples
    labels: tuple[int, ...] = ()
    captions: tuple[tuple[str, ...], ...] = ()
    is_of: np.ndarray | None = None
    classnames: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def unique_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids, in order: one that an earlier sample has is followed by ``-`` and the least number that makes it new."""
    given = list(ids)
    taken = set(given)
    numbers: dict[str, Iterator[int]] = {}
    unique = []
    for id_ in given:
        own = id_
        if id_ in numbers:
            own = next(new for new in (f"{id_}-{number}" for number in numbers[id_]) if new not in taken)
            taken.add(own)
        numbers.setdefault(id_, count(1))
        unique.append(own)
    return tuple(unique)


class SamplesDigest:
    """SHA-256 over samples' ids and images, fed one by one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, id_: str, image: bytes) -> None:
        self._digest.update(f"{id_} {len(image)}\0".encode())
        self._digest.update(image)

    def hex(self) -> str:
        return self._digest.hexdigest()
