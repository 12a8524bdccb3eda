"""A pair's identity: 32 hex digits that follow it from the input table to a checkpoint's manifest."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pyarrow as pa

UID_PATTERN = re.compile(r"[0-9a-f]{32}")
UID_U64_PAIR = np.dtype("u8,u8")


def uid_of(url: str, caption: str) -> str:
    """The first 32 hex digits of sha256(url + NUL + caption), UTF-8. A lone surrogate is kept as it is."""
    text = f"{url}\0{caption}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def uid_bytes(uids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uids[N] of 32 hex digits -> uint8[N, 16], most significant byte first."""
    joined = "".join(uids.to_pylist())
    return np.frombuffer(bytes.fromhex(joined), np.uint8).reshape(len(uids), 16)


def uid_strings(raw: np.ndarray) -> list[str]:
    """uint8[N, 16] -> N strings of 32 hex digits; the inverse of `uid_bytes`."""
    joined = np.ascontiguousarray(raw).tobytes().hex()
    return [joined[start : start + 32] for start in range(0, len(joined), 32)]


def to_u64_pairs(raw: np.ndarray) -> np.ndarray:
    """uint8[N, 16] -> structured (upper64, lower64)[N], the layout of DataComp's subset files (not sorted here)."""
    halves = np.ascontiguousarray(raw).view(">u8").astype("u8").reshape(-1, 2)
    return halves.copy().view(UID_U64_PAIR).reshape(-1)


def from_u64_pairs(pairs: np.ndarray) -> np.ndarray:
    """Structured (upper64, lower64)[N] -> uint8[N, 16]; the inverse of `to_u64_pairs`."""
    halves = np.stack([pairs["f0"], pairs["f1"]], axis=1).astype(">u8")
    return np.ascontiguousarray(halves).view(np.uint8).reshape(-1, 16)
