"""The rows to pack, of a folder or a table alike: a Parquet file whose ``url`` is the path below the root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from clipsieve.pipelines.pack.find import EXTENSIONS, iter_pictures
from clipsieve.pipelines.pack.paths import Root, is_below, path_below
from clipsieve.pipelines.pairs.copies import write_copy
from clipsieve.pipelines.pairs.formats import text_format
from clipsieve.pipelines.pairs.table import PairsTable, iter_rows, open_pairs, parquet_files
from clipsieve.pipelines.pairs.text import text_to_parquet
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import PackOptions

PATH_NAMES = ("path", "file", "image", "filename", "url")
_OWN = ("uid", "url", "caption")


def write_rows(pictures: str, root: str | None, options: PackOptions, target: Path) -> Root:
    """Write the rows of ``pictures``, a folder or a table, to ``target`` and return below which folder files may be.

    That is ``root``, by default the folder, or the table's folder. Raises InputError for a folder without pictures, a
    table that cannot be read, columns of what is no table, and a root that is no local folder or does not hold the
    folder of pictures.
    """
    fs, inner = files.filesystem(pictures)
    is_folder = isinstance(fs, LocalFileSystem) and fs.isdir(inner)
    if not is_folder and not fs.exists(inner):
        raise InputError(f"{pictures}: no such folder or table")
    if is_folder and options.columns:
        raise InputError(f"{pictures}: is a folder; `columns` is for a CSV or TSV that has no header")
    folder = inner if is_folder else str(Path(inner).parent)
    below = Root.of(root if root is not None else folder)
    if not isinstance(fs, LocalFileSystem) and root is None:
        raise InputError(f"{pictures}: is not on this machine; name the folder of its pictures with --root")
    if not Path(below.real).is_dir():
        raise InputError(f"{root}: no such folder; --root names a local one")
    if not is_folder:
        write_copy(str(target), _rows_of_table(pictures, os.path.realpath(folder), below, options, target.parent))
    elif not is_below(os.path.realpath(folder), below.real):
        raise InputError(f"{pictures}: is not below {root}, which --root names")
    elif not write_copy(str(target), iter_pictures(inner, below, options.captions)):
        raise InputError(f"{pictures}: no picture in this folder or below it ({', '.join(EXTENSIONS)})")
    return below


def open_rows(path: str, options: PackOptions) -> PairsTable:
    """The table that `write_rows` wrote."""
    return open_pairs([path], options.bbox_col, options.verify_sha256)


def _rows_of_table(path: str, folder: str, root: Root, options: PackOptions, scratch: Path) -> Iterator[pa.Table]:
    """The rows of a table under its own columns' names, but for the paths, which become those below the root."""
    names = PATH_NAMES if options.path_column is None else (options.path_column,)
    form = text_format(path, options.columns)
    if form is not None:
        copy = str(scratch / "text.parquet")
        text_to_parquet(path, form, copy, options.columns, names)
        path = copy
    table = open_pairs(parquet_files(path), options.bbox_col, options.verify_sha256, names)
    given = {kept: name for name, kept in table.columns.extra if name not in _OWN}
    for rows in iter_rows(table.slices, table.columns):
        paths = [path_below(value, folder, root) for value in rows["url"].to_pylist()]
        rows = rows.set_column(rows.column_names.index("url"), "url", pa.array(paths, pa.string()))
        rows = rows if table.columns.uid is not None else rows.drop_columns(["uid"])
        yield rows.rename_columns([given.get(name, name) for name in rows.column_names])
