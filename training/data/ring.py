"""The memory of batches: arrays with a row for each pair, of this process or shared with those that fill them."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

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


def allocate(fields: Mapping[str, Field], pairs: int) -> Arrays:
    """New arrays of this process, in memory that a GPU can fetch from by itself where there is one."""
    return {
        name: torch.empty(
            pairs * field.nbytes, dtype=torch.uint8, pin_memory=torch.cuda.is_available()
        ).numpy().view(field.dtype).reshape(pairs, *field.shape)
        for name, field in fields.items()
    }  # fmt: skip


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

    def pin(self) -> None:
        """Have CUDA fetch from this memory by itself; nothing is done where there is no GPU."""
        if torch.cuda.is_available():
            address = np.frombuffer(self._memory, np.uint8).ctypes.data
            torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(address, len(self._memory), 0))

    def close(self) -> None:
        """Let go of the memory; what still looks at a slot keeps it."""
        if torch.cuda.is_available():
            address = np.frombuffer(self._memory, np.uint8).ctypes.data
            torch.cuda.check_error(torch.cuda.cudart().cudaHostUnregister(address))
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
