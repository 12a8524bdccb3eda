"""Parquet: a file ``NAME.parquet``, or a folder ``NAME`` of files, those of a split by the start of their names.

Columns: ``image`` (encoded bytes, or Hugging Face's struct of ``bytes`` and ``path``); for classification ``label``, an
index or a name; for retrieval ``captions`` (a list) or ``caption``. ``id`` names a row where it is there. The names of
the classes are those of ``label``, or of a ``name`` column next to an index, or in ``classnames.txt`` in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq

from clipsieve.evaluation.datasets.imagenet.classes import ClassSet
from clipsieve.evaluation.datasets.layouts.find import SPLITS
from clipsieve.evaluation.datasets.layouts.split import SamplesDigest, Split, unique_ids
from clipsieve.evaluation.datasets.layouts.text import listed_captions, read_names, read_templates
from clipsieve.evaluation.datasets.layouts.webdataset import CLASSNAMES, TEMPLATES
from clipsieve.evaluation.datasets.task import ImageStream, Samples
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import open_parquet

_BATCH_ROWS = 256
_KNOWN = ("id", "image", "label", "name", "caption", "captions")


def read(path: str, split: str, classes: ClassSet | None) -> Split:
    """Read the rows of ``path`` but for their images; see `clipsieve.evaluation.datasets.layouts.read.read_split`."""
    paths = _files_of(path, split)
    digest = SamplesDigest()
    rows: list[dict[str, Any]] = []
    for file in paths:
        for where, row in _rows(file, _KNOWN):
            data, named = _image(where, row["image"])
            given = [value for value in (row.get("id"), named) if value is not None and value != ""]
            id_ = str(given[0] if given else len(rows))
            digest.add(id_, data)
            rows.append({"id": id_, "where": where} | {name: row.get(name) for name in _KNOWN[2:]})
    if not rows:
        raise InputError(f"{path}: no rows")
    samples = Samples(unique_ids(row["id"] for row in rows), _stream(paths), digest.hex())
    if all(row["label"] is None for row in rows):
        return Split(samples, captions=tuple(_captions(row) for row in rows))
    own = files.join(path, CLASSNAMES)
    names = read_names(own) if files.exists(own) else () if classes else _classnames(rows)
    templates = files.join(path, TEMPLATES)
    places = classes.folders if classes else {name: place for place, name in enumerate(names)}
    labels = tuple(_label(row, places) for row in rows)
    return Split(
        samples,
        labels=labels,
        classnames=names,
        templates=read_templates(templates) if files.exists(templates) else (),
    )


def _files_of(path: str, split: str) -> list[str]:
    if path.endswith(".parquet"):
        if split != "test":
            raise InputError(f"{path}: one file is the test split; put {split}*.parquet next to it in a folder")
        return [path]
    every = files.list_files(path, ".parquet")
    for name in SPLITS[split]:
        if found := [file for file in every if files.name_of(file).startswith(name)]:
            return found
    raise InputError(f"{path}: no {' or '.join(f'{name}*.parquet' for name in SPLITS[split])} there")


def _rows(path: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of a file, streamed."""
    with open_parquet(path, streamed=True) as parquet:
        present = [name for name in columns if name in parquet.schema_arrow.names]
        if "image" not in present or not {"label", "caption", "captions"} & {*parquet.schema_arrow.names}:
            raise InputError(f"{path}: needs the columns image and label, caption or captions")
        number = 0
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=present, use_threads=False):
            for row in batch.to_pylist():
                yield f"{path}: row {number}", row
                number += 1


def _stream(paths: list[str]) -> ImageStream:
    def images(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
        first = 0
        for path in paths:
            with open_parquet(path) as parquet:
                count = parquet.metadata.num_rows
                if first < stop and start < first + count:
                    yield from _images_of(parquet, path, start - first, stop - first)
            first += count

    return images


def _images_of(parquet: pq.ParquetFile, path: str, start: int, stop: int) -> Iterator[tuple[str, bytes]]:
    number = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=["image"], use_threads=False):
        if number < stop and start < number + len(batch):
            for place, image in enumerate(batch["image"].to_pylist(), number):
                if start <= place < stop:
                    where = f"{path}: row {place}"
                    yield where, _image(where, image)[0]
        number += len(batch)


def _image(where: str, value: Any) -> tuple[bytes, str | None]:
    """The encoded image and the name of its file, if that is known."""
    data, named = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if not isinstance(data, bytes):
        raise InputError(f"{where}: column 'image' has no encoded image")
    return data, named


def _captions(row: dict[str, Any]) -> tuple[str, ...]:
    given = row["captions"] if row["captions"] is not None else row["caption"]
    captions = listed_captions(given)
    if not captions:
        raise InputError(f"{row['where']}: no caption")
    return captions


def _classnames(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """The classes in order: the names that label holds, or those in the name column, by the index in label."""
    labelled = [row for row in rows if row["label"] is not None]
    if isinstance(labelled[0]["label"], str):
        return tuple(sorted({row["label"] for row in labelled}))
    names = {row["label"]: row["name"] for row in labelled if row["name"] is not None}
    count = len({row["label"] for row in labelled})
    for place in range(count):
        if not isinstance(names.get(place), str):
            raise InputError(f"{rows[0]['where']}: no name of class {place}; give a column name, or classnames.txt")
    return tuple(names[place] for place in range(count))


def _label(row: dict[str, Any], places: Any) -> int:
    label = row["label"]
    place = places.get(label) if isinstance(label, str) else label
    if not isinstance(place, int) or not 0 <= place < len(places):
        raise InputError(f"{row['where']}: label {label!r} is not one of the {len(places)} classes")
    return place
