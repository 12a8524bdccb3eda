"""Tables as careless hands leave them."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipsieve.schemas.manifest import Manifest, read_manifest

NOBODY = "http://127.0.0.1:1/a.png"
UID = "0123456789abcdef" * 2


def png() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).save(stream, "PNG")
    return stream.getvalue()


PICTURE = png()


def parquet(folder: Path, columns: dict | pa.Table, name: str = "pairs.parquet") -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), folder / name)
    return folder / name


def text(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def undecodable(*values: bytes) -> pa.Array:
    """A string column as a careless writer leaves it: bytes that are not UTF-8."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def manifest_of(folder: Path) -> Manifest:
    found = read_manifest(str(folder / "shards"))
    assert found is not None
    return found
