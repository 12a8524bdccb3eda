"""The scores of a shard as they are written: a table, and its embeddings where they were requested."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.score.embed import Embedded
from clipsieve.pipelines.score.heads import Head
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError


@dataclass(frozen=True)
class ShardScores:
    """One shard's scores, and its embeddings float16[N, D] by their names in the npz."""

    name: str
    table: pa.Table
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreOrigin:
    """What scores come from: the references' digests, the first one's first, and what they computed in."""

    digests: tuple[str | None, ...]
    precision: str | None


def numbered(name: str, number: int) -> str:
    """What the reference ``number``, counted from 1, gives: ``similarity``, ``similarity_2`` and so on."""
    return name if number == 1 else f"{name}_{number}"


def score_columns(embedded: Sequence[Embedded], heads: Iterable[Head]) -> dict[str, np.ndarray]:
    """float32[N] by column: each reference's similarity, each head's value on the first one's image embeddings."""
    columns = {numbered("similarity", number): each.similarity for number, each in enumerate(embedded, 1)}
    return columns | {head.name: head(embedded[0].image) for head in heads}


def half_embeddings(embedded: Sequence[Embedded]) -> dict[str, np.ndarray]:
    """float16[N, D] by name: ``img`` and ``txt``; of further references ``img_2``, ``txt_2`` and so on."""
    found: dict[str, np.ndarray] = {}
    for number, each in enumerate(embedded, 1):
        found[numbered("img", number)] = each.image.astype(np.float16)
        found[numbered("txt", number)] = each.text.astype(np.float16)
    return found


def concatenated(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of one name, one after the other; every part has the same names."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def score_table(
    pairs: pa.Table,
    captions: Sequence[str],
    scores: dict[str, np.ndarray],
    origin: ScoreOrigin,
    language: bool,
    where: str,
) -> pa.Table:
    """The scores table of ``pairs`` (uid, shard, key; N rows) from what is known of each, in their order.

    ``language``: identify the captions' languages. Columns beyond the schema's stand after it. Raises InputError,
    beginning with ``where``, for a score that is not a finite number.
    """
    for name, values in scores.items():
        wrong = ~np.isfinite(values)
        if wrong.any():
            uid = pairs["uid"][int(np.argmax(wrong))].as_py()
            raise InputError(f"{where}: {int(wrong.sum())} pairs have no finite {name}, the first {uid}")
    digests = {
        numbered("reference", number): pa.repeat(pa.scalar(digest, pa.string()), len(pairs))
        for number, digest in enumerate(origin.digests, 1)
    }
    columns = {
        **{name: pairs[name] for name in ("uid", "shard", "key")},
        **scores,
        **digests,
        "precision": pa.repeat(pa.scalar(origin.precision, pa.string()), len(pairs)),
        "caption_chars": pa.array([len(caption) for caption in captions], pa.int32()),
        "caption_words": pa.array([len(caption.split()) for caption in captions], pa.int32()),
        "language": pa.array(_languages(captions) if language else [None] * len(captions), pa.string()),
    }
    return tables.conform(pa.table(columns), tables.SCORES, where)


def _languages(captions: Sequence[str]) -> list[str | None]:
    from clipsieve.pipelines.score.language import identify  # its model is loaded where it is asked for

    return identify(captions)


def write_scores(scores: ShardScores, out: str) -> str:
    """Write a shard's scores, the Parquet last: where it is, the shard is done. Returns its path."""
    if scores.embeddings:
        stream = io.BytesIO()
        np.savez(stream, **scores.embeddings)  # type: ignore[arg-type]
        files.write_bytes(files.join(out, f"{scores.name}.npz"), stream.getvalue())
    path = files.join(out, f"{scores.name}.parquet")
    tables.write_table(scores.table, tables.SCORES, path)
    return path
