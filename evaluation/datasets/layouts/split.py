"""A split of a data set as its layout has it, before it is known what is asked of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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


class SamplesDigest:
    """SHA-256 over samples' ids and images, fed one by one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, id_: str, image: bytes) -> None:
        self._digest.update(f"{id_} {len(image)}\0".encode())
        self._digest.update(image)

    def hex(self) -> str:
        return self._digest.hexdigest()
