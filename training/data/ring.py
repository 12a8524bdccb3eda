"""The memory of batches, shared by the processes that fill them and the one that trains on them: arrays with a row for
each pair.

Nothing here needs torch, which a process takes seconds to import.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
"""By field: [B, …], a row for each pair of a batch."""
_ALIGNMENT = 4096
"""Of each array in a ring: a page."""


@dataclass(frozen=True)
class Field:
    """What a pair has one of: the pixels of a view, its tokens."""

    dtype: str
    """Numpy's name."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Reader(Protocol):
    """What fills the arrays of a batch; pickled, it comes to another process."""

    cache_bytes: int
    """What it may keep of its work."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """What a pair has one of."""

    def fill(self, positions: range, into: Arrays, part: int, parts: int) -> Any:
        """Write the pairs of one of the parts into their rows; what it returns is handed on."""


class Ring:
    """Slots with the arrays of a batch each. The memory has no name: it is gone with the last process that holds it."""

    def __init__(self, fields: Mapping[str, Field], pairs: int, slots: int, descriptor: int | None = None) -> None:
        """A new ring, or the one of another process whose file ``descriptor`` this one has inherited."""
        self._fields, self._pairs, self._slots = fields, pairs, slots
        self.descriptor = os.memfd_create("clipsieve-batches") if descriptor is None else descriptor
        self._slot_bytes = sum(self._room(field) for field in fields.values())
        if descriptor is None:
            os.ftruncate(self.descriptor, max(1, slots * self._slot_bytes))
        self._memory = mmap.mmap(self.descriptor, 0)

    def slots(self) -> list[Arrays]:
        """The arrays of every slot."""
        return [self._slot(number) for number in range(self._slots)]

    @property
    def memory(self) -> np.ndarray:
        """uint8[N], all of it."""
        return np.frombuffer(self._memory, np.uint8)

    def close(self) -> None:
        """Let go of the memory; what still looks at a slot keeps it."""
        os.close(self.descriptor)

    def _slot(self, number: int) -> Arrays:
        arrays, start = {}, number * self._slot_bytes
        for name, field in self._fields.items():
            count = self._pairs * math.prod(field.shape)
            array = np.frombuffer(self._memory, field.dtype, count, start)
            arrays[name] = array.reshape(self._pairs, *field.shape)
            start += self._room(field)
        return arrays

    def _room(self, field: Field) -> int:
        """Bytes of a slot's array."""
        return -(-self._pairs * field.nbytes // _ALIGNMENT) * _ALIGNMENT
