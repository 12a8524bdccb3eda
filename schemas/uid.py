"""A pair's identity: 32 hex digits that follow it from the input table to a checkpoint's manifest."""

from __future__ import annotations

import binascii
import hashlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas.text_buffers import fixed_text, text_bytes

UID_PATTERN = re.compile(r"[0-9a-f]{32}")
UID_U64_PAIR = np.dtype("u8,u8")
_UID_BYTES = 16
_BYTES = (pa.types.is_fixed_size_binary, pa.types.is_binary, pa.types.is_large_binary)


def uid_of(url: str, caption: str) -> str:
    """The first 32 hex digits of sha256(url + NUL + caption), UTF-8. A lone surrogate is kept as it is."""
    text = f"{url}\0{caption}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def uid_text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column of uids of 16 bytes each as their 32 hex digits; any other column as it is."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if pa.types.is_binary_view(column.type):
        column = column.cast(pa.binary())
    if not any(test(column.type) for test in _BYTES):
        return column
    if not pc.all(pc.equal(pc.binary_length(column), _UID_BYTES), min_count=0).as_py():
        return column
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array(map(_hex, column.chunks), pa.string())
    return _hex(column)


def uid_bytes(uids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uids[N] of 32 hex digits, or of 16 bytes, -> uint8[N, 16], most significant byte first.

    Of anything else a ValueError.
    """
    uids = uid_text(uids)
    column = uids.combine_chunks() if isinstance(uids, pa.ChunkedArray) else uids
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or column.null_count or not pc.all(pc.equal(pc.binary_length(column), 32), min_count=0).as_py():
        raise ValueError("a uid has 32 digits")
    return np.frombuffer(binascii.unhexlify(text_bytes(column)), np.uint8).reshape(len(column), 16)


def uid_array(raw: np.ndarray) -> pa.Array:
    """uint8[N, 16] -> string[N] of 32 hex digits each; the inverse of `uid_bytes`."""
    return fixed_text(binascii.hexlify(raw.tobytes()), 32)


def uid_strings(raw: np.ndarray) -> list[str]:
    """`uid_array` as a list."""
    return list(uid_array(raw).to_pylist())


def to_u64_pairs(raw: np.ndarray) -> np.ndarray:
    """uint8[N, 16] -> structured (upper64, lower64)[N], the layout of DataComp's subset files (not sorted here)."""
    halves = np.ascontiguousarray(raw).view(">u8").astype("u8").reshape(-1, 2)
    return halves.copy().view(UID_U64_PAIR).reshape(-1)


def from_u64_pairs(pairs: np.ndarray) -> np.ndarray:
    """Structured (upper64, lower64)[N] -> uint8[N, 16]; the inverse of `to_u64_pairs`."""
    halves = np.stack([pairs["f0"], pairs["f1"]], axis=1).astype(">u8")
    return np.ascontiguousarray(halves).view(np.uint8).reshape(-1, 16)


def _hex(column: pa.Array) -> pa.Array:
    """A column of 16 bytes a value, or null, as their hex digits."""
    raw = b"".join(value or bytes(_UID_BYTES) for value in column.to_pylist())
    return pc.if_else(column.is_valid(), fixed_text(binascii.hexlify(raw), 2 * _UID_BYTES), None)
