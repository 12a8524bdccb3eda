"""Scores from embeddings that lie in clip-retrieval's layout: no model is loaded, no image read (law 4).

    img_emb/img_emb_N.npy    text_emb/text_emb_N.npy    metadata/metadata_N.parquet

Rows with one number belong together. The metadata has a ``uid``, or the ``url`` and ``caption`` that it follows from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.score.embed import Embedded
from clipsieve.pipelines.score.heads import Head
from clipsieve.pipelines.score.table import ScoreOrigin, ShardScores, concatenated, score_columns, score_table
from clipsieve.pipelines.shards.rows import with_uids
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import ScoreOptions

FOLDERS = ("img_emb", "text_emb", "metadata")
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class StoredPart:
    """The files of one number."""

    folder: str
    number: str

    @property
    def name(self) -> str:
        return f"metadata_{self.number}"

    @property
    def image(self) -> str:
        return files.join(self.folder, "img_emb", f"img_emb_{self.number}.npy")

    @property
    def text(self) -> str:
        return files.join(self.folder, "text_emb", f"text_emb_{self.number}.npy")

    @property
    def parquet(self) -> str:
        return files.join(self.folder, "metadata", f"{self.name}.parquet")


def list_parts(folder: str) -> list[StoredPart]:
    """The parts of ``folder`` in the order of their names; InputError where there is none."""
    paths = files.list_files(files.join(folder, "metadata"), ".parquet")
    numbers = [files.name_of(path).removeprefix("metadata_").removesuffix(".parquet") for path in paths]
    if not numbers:
        raise InputError(f"{folder}: no embeddings in clip-retrieval's layout (metadata/metadata_N.parquet) there")
    return [StoredPart(folder, number) for number in numbers]


def stored_width(part: StoredPart) -> int:
    """How many numbers an embedding of the part has."""
    with files.open_read(part.image) as stream:
        return _read_header(stream, part.image)[0][1]


def score_stored(part: StoredPart, options: ScoreOptions, heads: tuple[Head, ...], opt_out: str | None) -> ShardScores:
    """The scores of a part's pairs; those that the file ``opt_out`` lists are left out.

    ``shard`` is null; ``key`` is the metadata's, or null. Raises InputError when the three files do not have as many
    rows, the embeddings are of other widths, or a pair has no finite similarity.
    """
    with tables.open_parquet(part.parquet) as parquet:
        rows = with_uids(parquet.read(use_threads=False), part.parquet)
    scores = concatenated([score_columns([block], heads) for block in _blocks(part, len(rows))])
    keep = ~load_opt_out(opt_out).forbids_rows(rows, part.parquet)
    rows = rows.filter(pa.array(keep))
    nothing = pa.nulls(len(rows), pa.string())
    keys = rows["key"].cast(pa.string()) if "key" in rows.schema.names else nothing
    pairs = pa.table({"uid": rows["uid"].cast(pa.string()), "shard": nothing, "key": keys})
    captions = [caption or "" for caption in rows["caption"].to_pylist()]
    kept = {name: values[keep] for name, values in scores.items()}
    table = score_table(pairs, captions, kept, ScoreOrigin((None,), None), options.language, part.parquet)
    return ShardScores(part.name, table)


def _blocks(part: StoredPart, rows: int) -> Iterator[Embedded]:
    """The part's embeddings, scaled to unit length, some rows at a time."""
    with files.open_read(part.image) as images, files.open_read(part.text) as texts:
        image_shape, image_dtype = _read_header(images, part.image)
        text_shape, text_dtype = _read_header(texts, part.text)
        for path, shape in ((part.image, image_shape), (part.text, text_shape)):
            if shape != (rows, image_shape[1]):
                wanted = f"{rows} x {image_shape[1]}, as {part.parquet} and {part.image} have it"
                raise InputError(f"{path}: holds {shape[0]} x {shape[1]} numbers, not {wanted}")
        for start in range(0, max(rows, 1), _BLOCK_ROWS):
            shape = (min(_BLOCK_ROWS, rows - start), image_shape[1])
            yield Embedded(
                _read_block(images, shape, image_dtype, part.image), _read_block(texts, shape, text_dtype, part.text)
            )


def _read_header(stream: IO[bytes], path: str) -> tuple[tuple[int, int], np.dtype]:
    """Shape and type of a npy file of N x D floats; the stream then stands at the first."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read(stream)
    except ValueError as error:
        raise InputError(f"{path}: not a readable npy file ({error})") from error
    if len(shape) != 2 or in_columns or dtype.kind != "f":
        raise InputError(f"{path}: holds {dtype} of shape {list(shape)}, not rows of floats, one for each pair")
    return (shape[0], shape[1]), dtype


def _read_block(stream: IO[bytes], shape: tuple[int, int], dtype: np.dtype, path: str) -> np.ndarray:
    """float32[shape], each row of unit length; NaN where a row has no length."""
    size = shape[0] * shape[1] * dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise InputError(f"{path}: ends before its {shape[0]} rows do; copy it again")
    values = np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return values / np.linalg.norm(values, axis=1, keepdims=True)
