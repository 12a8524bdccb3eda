"""The parts of an output folder: each data file's digest and rows, gathered by the job that wrote them.

A job's workers digest their own files; the driver only reads the list, `_parts.json`, and folds it into the
digest of the folder. So closing a folder of a million files costs the driver one read of a few dozen
megabytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, strict_json, tables
from clipsieve.schemas.counts import SelectionCounts
from clipsieve.schemas.opt_out import OPTED_OUT

PARTS_NAME = "_parts.json"
DUPLICATES = "duplicates"
"""How a manifest counts the pairs of a selection that have a duplicate_of and no reject_reason."""


@dataclass(frozen=True, order=True)
class Part:
    """One data file of a folder."""

    name: str
    digest: str
    """Of a Parquet file, its `tables.content_digest`; of any other, the XXH3 of its bytes."""
    rows: int
    """Of a Parquet file; 0 for any other."""
    left_out: dict[str, int] = field(default_factory=dict, compare=False)
    """Of a selection, how many of them have each reject_reason, and how many are duplicates and have none."""


def part_of(path: str) -> Part:
    """Read a file and say what it holds."""
    name = files.name_of(path)
    if not name.endswith(".parquet"):
        return Part(name, files.xxh3_file(path), 0)
    with tables.open_parquet(path) as parquet:
        rows, left_out = parquet.metadata.num_rows, {}
        if {"reject_reason", "duplicate_of"} <= set(parquet.schema_arrow.names):
            left_out = _left_out(parquet.read(["reject_reason", "duplicate_of"], use_threads=False))
    return Part(name, tables.content_digest(path), rows, left_out)


def _left_out(rows: pa.Table) -> dict[str, int]:
    counts = {pair["values"]: pair["counts"] for pair in rows["reject_reason"].drop_null().value_counts().to_pylist()}
    duplicates = pc.sum(pc.and_(rows["reject_reason"].is_null(), rows["duplicate_of"].is_valid())).as_py()
    return counts | ({DUPLICATES: duplicates} if duplicates else {})


def folder_digest(parts: Iterable[Part]) -> str:
    """Hex SHA-256 over the names and digests of a folder's parts, in the order of their names."""
    return files.sha256_text(*(f"{part.name} {part.digest}" for part in sorted(parts)))


def read_parts(folder: str) -> list[Part]:
    """The parts that the job which filled ``folder`` listed, sorted by name."""
    return [Part(**part) for part in json.loads(files.read_bytes(files.join(folder, PARTS_NAME)))]


def write_parts(parts: Iterable[Part], folder: str) -> None:
    content = ",\n".join(strict_json.dumps(asdict(part)) for part in sorted(parts))
    files.write_bytes(files.join(folder, PARTS_NAME), f"[\n{content}\n]\n".encode())


def selection_counts(parts: Sequence[Part], has_list: bool) -> SelectionCounts:
    """The counts of a selection of these parts; ``has_list``: an opt-out list was given."""
    pairs, left_out = sum(part.rows for part in parts), sum((Counter(part.left_out) for part in parts), Counter())
    return SelectionCounts(
        pairs=pairs,
        eligible=pairs - left_out.total(),
        opted_out=left_out.pop(OPTED_OUT, 0) if has_list else None,
        left_out=dict(sorted(left_out.items())),
    )


class ListParts(beam.PTransform):
    """The parts of ``folder`` -> its `_parts.json`."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, parts: beam.PCollection[Part]) -> beam.PCollection[None]:
        return parts | "Gather" >> beam.combiners.ToList() | "List" >> beam.Map(write_parts, self.folder)
