"""The quickstart's input: embedded openclipart pairs, the troubled little web that serves them, and its recipe.

Which pages fail, and which captions are swapped, is a hash of the pair's id: every quickstart has the same. The pairs
are public domain, and the builtin reference has seen neither them nor a near-duplicate of one (pipelines/builtin).
"""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager
from importlib.resources import files as resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.pipelines.quickstart.web import HOST, Behaviour, Page, serve
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

SWAPPED_SHARE = 0.5
"""Share of the pairs that get another pair's caption: the noise that the reference is to find."""

DUPLICATE_ROWS = 20
TROUBLED_PAGES = {
    Behaviour.NOT_FOUND: 24,
    Behaviour.HTML: 12,
    Behaviour.TRUNCATED: 8,
    Behaviour.NOAI: 8,
    Behaviour.STALL: 4,
    Behaviour.OVERSIZED: 3,
    Behaviour.REDIRECT_LOOP: 3,
    Behaviour.REDIRECT_PRIVATE: 3,
    Behaviour.REDIRECT: 40,
    Behaviour.WRONG_TYPE: 12,
    Behaviour.FLAKY: 8,
}
"""How many pages behave so; all others simply answer. The last three end well."""


def prepare(out: str, port: int) -> Path:
    """Write OUT/pairs/pairs.parquet and OUT/recipe.yaml, and return the recipe's path.

    Raises InputError where another quickstart, with another port or version, began.
    """
    recipe = (resources(__package__) / "recipe.yaml").read_text("utf-8").replace("PORT", str(port))
    _write_once(files.join(out, "pairs", "pairs.parquet"), _parquet(pair_table(port)))
    _write_once(files.join(out, "recipe.yaml"), recipe.encode())
    return Path(out) / "recipe.yaml"


def serve_pairs(port: int) -> AbstractContextManager[str]:
    """Serve the pairs' images on loopback, each page with its own behaviour, while the block runs."""
    rows = _in_hash_order(_embedded())
    behaviours = [kind for kind, count in TROUBLED_PAGES.items() for _ in range(count)]
    behaviours += [Behaviour.OK] * (len(rows) - len(behaviours))
    pages = {f"/{row['id']}": Page(row["image"], kind) for row, kind in zip(rows, behaviours, strict=True)}
    return serve(pages, port)


def pair_table(port: int) -> pa.Table:
    """The table that a user would bring: url, caption, and besides them where each pair is from and was swapped."""
    rows = _embedded()
    captions = _swapped_captions(rows)
    pairs = [
        {
            "url": f"http://{HOST}:{port}/{quote(row['id'])}",
            "caption": captions.get(row["id"], row["title"]),
            "swapped": captions.get(row["id"], row["title"]) != row["title"],
            "source_id": row["id"],
            "creator": row["creator"],
        }
        for row in rows
    ]
    return pa.Table.from_pylist(pairs + pairs[:DUPLICATE_ROWS])


def _swapped_captions(rows: list[dict[str, Any]]) -> dict[str, str]:
    """New captions by id: half of the pairs, in hash order, each with the title of the one before it."""
    chosen = _in_hash_order(rows, "swap")[: round(len(rows) * SWAPPED_SHARE)]
    return {row["id"]: other["title"] for row, other in zip(chosen, [chosen[-1], *chosen[:-1]], strict=True)}


def _in_hash_order(rows: list[dict[str, Any]], salt: str = "page") -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: hashlib.sha256(f"{salt}:{row['id']}".encode()).digest())


def _embedded() -> list[dict[str, Any]]:
    data = (resources(__package__) / "pairs.parquet").read_bytes()
    return list(pq.read_table(io.BytesIO(data)).to_pylist())


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _write_once(path: str, data: bytes) -> None:
    if not files.exists(path):
        files.write_bytes(path, data)
    elif files.read_bytes(path) != data:
        raise InputError(f"{path}: another quickstart began here (other port or version); choose another --out")
