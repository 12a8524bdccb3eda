"""`clipsieve verify` on a real run that was damaged in one place: it names that place."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

JPEG_START = b"\xff\xd8\xff"


def flip_byte(path: Path, after: bytes = b"") -> None:
    """Change one bit, some way after the first ``after``."""
    data = bytearray(path.read_bytes())
    data[data.index(after) + len(after) + 200] ^= 1
    path.write_bytes(data)


def drop_row(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def set_value(path: Path, column: str, value: object, row: int = 0) -> None:
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.field(column)
    pq.write_table(table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), path)


def change_npy(path: Path) -> None:
    pairs = np.load(path)
    pairs["f1"][3] += 1
    np.save(path, pairs)


def remove_member(path: Path, extension: str) -> None:
    """Take the first member of that extension out of a tar."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    first = next(member for member, _ in members if member.name.endswith(extension))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            if member is not first:
                tar.addfile(member, io.BytesIO(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


def change_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("pairs/pairs.parquet", drop_row, "pairs/pairs.parquet: not the table that"),
    ("shards/00001.tar", partial(flip_byte, after=JPEG_START), "shards/00001.tar: its bytes are not those"),
    ("shards/00001.tar", truncate, "shards/00001.tar: not a readable tar"),
    ("shards/00002.tar", partial(remove_member, extension=".jpg"), "shards/00002.tar: sample 0000200 has no"),
    ("shards/00000.tar", partial(remove_member, extension=".json"), "shards/00000.tar: row 2: the sample's"),
    ("shards/00000.parquet", drop_row, "shards/00000.parquet: holds 31 rows, its stats file says 32"),
    (
        "shards/00001.parquet",
        partial(set_value, column="caption", value="x"),
        "shards/00001.tar: row 1: the sample's caption is",
    ),
    ("shards/00002.parquet", truncate, "shards/00002.parquet: not a readable Parquet file"),
    ("shards/00001.parquet", Path.unlink, "shards/00001.parquet: no such file"),
    (
        "shards/00000_stats.json",
        partial(change_json, values={"duplicates": 1}),
        "shards: its manifest counts 85 of rows, its shards 86",
    ),
    (
        "shards/00001_stats.json",
        partial(change_json, values={"successes": 1}),
        "shards/00001.parquet: 32 rows are success, its stats file says 1",
    ),
    ("shards/00001_stats.json", truncate, "shards/00001_stats.json: not the stats of a shard"),
    ("scores/00001.parquet", drop_row, "scores/00001.parquet: its content is not"),
    (
        "scores/00000.parquet",
        partial(set_value, column="similarity", value=0.9),
        "scores/00000.parquet: its content is not",
    ),
    ("scores/00002.npz", flip_byte, "scores/00002.npz: its content is not"),
    (
        "selection/00002.parquet",
        partial(set_value, column="quantile_rank", value=0.0),
        "selection/00002.parquet: its content is not",
    ),
    (
        "subsets/top20.parquet",
        partial(set_value, column="uid", value="0" * 32),
        "subsets/top20.parquet: its content is not",
    ),
    ("subsets/top40.npy", change_npy, "subsets/top40.npy: its content is not"),
    (
        "subsets/manifest.json",
        partial(change_json, values={"status": "running"}),
        "subsets: select is not finished there",
    ),
    ("samples/30.parquet", drop_row, "samples/30.parquet: its content is not"),
    ("samples/10.npy", Path.unlink, "samples/10.npy: no such file"),
    (
        "resharded/top40/00001.tar",
        partial(flip_byte, after=JPEG_START),
        "resharded/top40/00001.tar: its bytes are not those",
    ),
    ("resharded/top40/00002.parquet", drop_row, "resharded/top40/00002.tar: row 1: the sample's key"),
    (
        "resharded/top40/sizes.json",
        partial(change_json, values={"00000.tar": 11}),
        "resharded/top40/sizes.json: is not what the shards hold",
    ),
    (
        "models/top40/open_clip_model.safetensors",
        flip_byte,
        "models/top40/open_clip_model.safetensors: not the weights",
    ),
    ("models/all/manifest.json", Path.unlink, "models/all: holds no manifest.json"),
    ("evaluations/top40/results.jsonl", truncate, "evaluations/top40: its results.jsonl or samples are not"),
    (
        "evaluations/all/manifest.json",
        partial(change_json, values={"inputs": {"model": "0", "data": "0"}}),
        "evaluations/all: was made from another all",
    ),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damage_is_named(
    small_run: Path, tmp_path: Path, command, name: str, damage: Callable[[Path], object], message: str
) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    damage(run / name)
    ended = command("verify", run)
    assert ended.status in (1, 2)
    assert ended.err.startswith(f"clipsieve: {run}/{message}")
    assert ended.err.count("\n") == 1 and ended.out == ""
