"""What the pool's publisher said of the pairs: a table whose columns are found by their names, joined to the pairs.

DataComp's metadata has ``uid``, ``original_width``, ``original_height``, ``sha256``, ``clip_b32_similarity_score`` and
``clip_l14_similarity_score``, and next to each Parquet an npz of embeddings; LAION's ``URL``, ``TEXT``, ``WIDTH``,
``HEIGHT`` and ``similarity``. Names are looked up exactly first, then without regard to case.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.drift.pairs import DownloadedPairs, hash_bits, keys_of, numbers_in, sizes_in
from clipsieve.pipelines.pairs.table import CAPTION_NAMES, SHA256_NAMES, UID_NAMES, URL_NAMES
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import DriftOptions
from clipsieve.schemas.uid import uid_of

_NAMES = {
    "uid": UID_NAMES,
    "url": URL_NAMES,
    "caption": CAPTION_NAMES,
    "width": ("original_width", "width"),
    "height": ("original_height", "height"),
    "sha256": SHA256_NAMES,
}
_EMBEDDINGS = {"clip_l14_similarity_score": "l14_img", "clip_b32_similarity_score": "b32_img", "similarity": "img"}
"""Names of a column of similarities, and of the array of image embeddings of the same reference."""
_NOT_COMPARED = "none"
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class PublishedColumns:
    """The names of the published table's columns, by what they are for; None: it has none."""

    uid: str | None
    url: str | None
    caption: str | None
    width: str | None
    height: str | None
    sha256: str | None
    similarities: dict[str, str]
    """By the scores' columns."""
    embedding: str | None
    """The array in the npz next to a Parquet; None: not to be compared."""

    @property
    def by_url(self) -> bool:
        """Whether a pair is known by its URL and caption."""
        return self.uid is None

    @property
    def read(self) -> list[str]:
        """The columns to be read."""
        key = (self.url, self.caption) if self.by_url else (self.uid,)
        wanted = (*key, self.width, self.height, self.sha256, *self.similarities.values())
        return list(dict.fromkeys(name for name in wanted if name is not None))


@dataclass(frozen=True)
class Stated:
    """What was published of N pairs."""

    is_there: np.ndarray
    """bool[N]: whether the table has the pair."""
    sizes: np.ndarray
    """int32[N, 2]: width and height; 0 where not known."""
    sha256: np.ndarray
    """uint64[N]: the digest's first bits; 0 where not known."""
    similarities: np.ndarray
    """float32[N, R]; NaN where not known."""
    cosine: np.ndarray
    """float32[N]: of the image's own and published embedding; NaN where one is not known."""


def find_columns(names: Sequence[str], path: str, options: DriftOptions, is_scored: bool) -> PublishedColumns:
    """Tell the columns of the published table at ``path`` apart, by ``options.columns`` and by their names.

    Similarities are looked for where the pairs are scored. Raises InputError for a column that is named and is not
    there, for a table without uid and without url and caption, and where several columns may be the similarity.
    """
    found = {kind: _find(names, options.column(kind), known, path) for kind, known in _NAMES.items()}
    if found["uid"] is None and None in (found["url"], found["caption"]):
        raise InputError(
            f"{path}: neither uid nor url and caption are among its columns, {', '.join(names)}; name them with "
            "`columns`, as uid=COLUMN"
        )
    similarities = _find_similarities(names, options, path) if is_scored else {}
    named = options.column("embedding")
    embedding = named or _EMBEDDINGS.get(similarities.get("similarity", "similarity"), "img")
    return PublishedColumns(
        **found, similarities=similarities, embedding=None if embedding == _NOT_COMPARED else embedding
    )


def _find(names: Sequence[str], named: str | None, known: Sequence[str], path: str) -> str | None:
    if named == _NOT_COMPARED:
        return None
    if named is not None:
        if named not in names:
            raise InputError(f"{path}: column {named!r} of `columns` is missing; it has: {', '.join(names)}")
        return named
    as_known = [name for name in known if name in names]
    in_any_case = [name for wanted in known for name in names if name.lower() == wanted.lower()]
    return next(iter(as_known + in_any_case), None)


def _find_similarities(names: Sequence[str], options: DriftOptions, path: str) -> dict[str, str]:
    own = [each.partition("=")[0] for each in options.columns if each.startswith("similarity")]
    if not own:
        known = [found for name in _EMBEDDINGS if (found := _find(names, None, [name], path))]
        if len(known) > 1:
            raise InputError(
                f"{path}: has {' and '.join(known)}; name the one of the scores' reference with `columns`, as "
                f"similarity={known[0]}"
            )
        return {"similarity": known[0]} if known else {}
    named = {name: _find(names, options.column(name), (), path) for name in own}
    return {name: column for name, column in named.items() if column is not None}


def join(paths: Sequence[str], columns: PublishedColumns, pairs: DownloadedPairs, own: np.ndarray | None) -> Stated:
    """Look the pairs up in the published files ``paths``, read batch by batch; of a key that repeats the first counts.

    ``own`` float16[N, D] are the pairs' image embeddings. Raises InputError where a value is not what its column is
    for, embeddings are of another model, and no pair is in the table.
    """
    keys, first, places = np.unique(pairs.keys, return_index=True, return_inverse=True)
    stated = _nothing(len(keys), len(columns.similarities))
    for path in paths:
        embeddings = _read_embeddings(path, columns.embedding) if own is not None and columns.embedding else None
        start = 0
        for rows in _batches(path, columns):
            found, at = _places(keys, _keys(rows, columns, path), stated.is_there)
            _fill(stated, at, rows.take(found), columns, path)
            if embeddings is not None and own is not None:
                stated.cosine[at] = _cosine(own[first[at]], embeddings[start + found], path)
            start += len(rows)
    if not stated.is_there.any():
        known_by = "url and caption" if columns.by_url else f"column {columns.uid!r}"
        raise InputError(f"{paths[0]}: none of the {len(pairs)} pairs is in it, by {known_by}; is it of this pool?")
    return Stated(*(getattr(stated, name)[places] for name in Stated.__dataclass_fields__))


def _nothing(rows: int, references: int) -> Stated:
    return Stated(
        np.zeros(rows, bool),
        np.zeros((rows, 2), np.int32),
        np.zeros(rows, np.uint64),
        np.full((rows, references), np.nan, np.float32),
        np.full(rows, np.nan, np.float32),
    )


def _batches(path: str, columns: PublishedColumns) -> Iterator[pa.Table]:
    with tables.open_parquet(path, streamed=True) as parquet:
        missing = [name for name in columns.read if name not in parquet.schema_arrow.names]
        if missing:
            raise InputError(f"{path}: column {missing[0]!r}, which the files before it have, is missing")
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns.read, use_threads=False):
            yield pa.Table.from_batches([batch])


def _keys(rows: pa.Table, columns: PublishedColumns, path: str) -> np.ndarray:
    """bytes S16[N]"""
    if columns.uid is not None:
        return keys_of(rows[columns.uid], path)
    texts = ([text or "" for text in rows[name].to_pylist()] for name in (columns.url, columns.caption))
    return keys_of(pa.array(map(uid_of, *texts), pa.string()), path)


def _places(keys: np.ndarray, looked_up: np.ndarray, is_there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that hold one of ``keys``, ascending, for the first time, and where that is."""
    at = np.minimum(np.searchsorted(keys, looked_up), len(keys) - 1)
    rows = np.flatnonzero((keys[at] == looked_up) & ~is_there[at])
    _, first = np.unique(at[rows], return_index=True)
    rows = rows[np.sort(first)]
    return rows, at[rows]


def _fill(stated: Stated, at: np.ndarray, rows: pa.Table, columns: PublishedColumns, path: str) -> None:
    stated.is_there[at] = True
    for side, name in enumerate((columns.width, columns.height)):
        stated.sizes[at, side] = sizes_in(rows, name, path)
    if columns.sha256 is not None:
        stated.sha256[at] = hash_bits(rows, columns.sha256, 64, path)
    stated.similarities[at] = numbers_in(rows, list(columns.similarities.values()), path)


def _read_embeddings(path: str, name: str) -> np.ndarray | None:
    """[N, D]: the published image embeddings next to a Parquet; None where there are none."""
    npz = path.removesuffix(".parquet") + ".npz"
    if not files.exists(npz):
        return None
    try:
        with np.load(io.BytesIO(files.read_bytes(npz)), allow_pickle=False) as stored:
            embeddings = stored[name]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{npz}: no embeddings {name!r} there; name them with `columns`, as embedding=NAME") from error
    with tables.open_parquet(path) as parquet:
        if embeddings.ndim != 2 or len(embeddings) != parquet.metadata.num_rows:
            raise InputError(f"{npz}: {name!r} is not a row for each row of {path}")
    return np.asarray(embeddings)


def _cosine(own: np.ndarray, published: np.ndarray, path: str) -> np.ndarray:
    """[N, D] twice -> float32[N]; NaN where a row has no length."""
    if own.shape[1] != published.shape[1]:
        raise InputError(
            f"{path}: its embeddings have {published.shape[1]} dimensions, the scores' {own.shape[1]}; score with the "
            "publisher's reference, or leave them out with `columns` embedding=none"
        )
    one, other = own.astype(np.float32), published.astype(np.float32)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.divide((one * other).sum(1), lengths, out=np.full(len(one), np.nan, np.float32), where=lengths > 0)


def own_embeddings(scores: str, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The image embeddings next to the score files, each with its path; none where a file has none."""
    paths = [files.join(scores, name.removesuffix(".parquet") + ".npz") for name in names]
    if all(files.exists(path) for path in paths):
        for path in paths:
            with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as stored:
                yield path, stored["img"]
