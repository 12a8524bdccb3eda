"""Tensors to a safetensors file as they lie in memory: no second copy is made, and other threads of Python go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from clipsieve.schemas import files, strict_json

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Of the types that models and optimizers have, in the format's words."""
_BLOCK_BYTES = 8 << 20
"""Written at once. Python's lock is free meanwhile, and an object store's stream holds no more in memory."""


def write_tensors(path: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous CPU tensors to ``path``, whole or not at all: the bytes of ``safetensors.torch.save``.

    Nobody may change the tensors meanwhile. Raises ClipsieveError where the disk is full.
    """
    # Aligned: each tensor begins at a multiple of the size of its elements.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    with files.atomic_write(path) as stream:
        stream.write(_header([(name, tensors[name]) for name in names], metadata))
        for name in names:
            data = tensors[name].detach().reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(data), _BLOCK_BYTES):
                stream.write(data[start : start + _BLOCK_BYTES])


def _header(tensors: list[tuple[str, torch.Tensor]], metadata: Mapping[str, str] | None) -> bytes:
    """Its own length in 8 bytes, then JSON: what the file says of itself, and where each tensor lies behind it."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = strict_json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
