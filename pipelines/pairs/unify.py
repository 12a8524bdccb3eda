"""Parquet files that together are one table: their columns are found by name, whatever the files' order and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from clipsieve.pipelines.pairs.types import TEXT, common_type, is_rounding, kind_of
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import open_parquet

_EXACT_IN_FLOATS = 2**53


@dataclass(frozen=True)
class TablePart:
    """What the footer of one file says."""

    path: str
    schema: pa.Schema
    groups: tuple[int, ...]
    """Rows of each row group."""


def read_part(path: str) -> TablePart:
    """Read a file's footer. Raises InputError where it has two columns of one name."""
    with open_parquet(path) as parquet:
        schema = parquet.schema_arrow.remove_metadata()
        groups = tuple(parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups))
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: two columns would be named {twice[0]!r}; rename one of them")
    return TablePart(path, schema, groups)


def column_names(parts: Sequence[TablePart]) -> list[str]:
    """The names of all columns, in the order of the first part, then of the next that has more."""
    return list(dict.fromkeys(name for part in parts for name in part.schema.names))


def expect_everywhere(parts: Sequence[TablePart], names: Sequence[str]) -> None:
    """Raise InputError, naming both files, where a part lacks one of the columns ``names``, which another has."""
    for name in names:
        having = _having(parts, name)[0]
        for part in parts:
            if name not in part.schema.names:
                has = ", ".join(part.schema.names) or "none"
                raise InputError(f"{part.path}: column {name!r} of {having.path} is missing; it has: {has}")


def carried_types(parts: Sequence[TablePart], names: Sequence[str]) -> pa.Schema:
    """The type in which each of the columns ``names`` passes through (see `clipsieve.pipelines.pairs.types`).

    Raises InputError, naming column, types and files, where two parts hold a column in types of different kinds.
    """
    return pa.schema([(name, _carried_type(_having(parts, name), name)) for name in names])


def _having(parts: Sequence[TablePart], name: str) -> list[TablePart]:
    return [part for part in parts if name in part.schema.names]


def _carried_type(parts: Sequence[TablePart], name: str) -> pa.DataType:
    dtypes = [part.schema.field(name).type for part in parts]
    dtype = common_type(dtypes)
    if dtype is None:
        raise _unlike(parts, name)
    is_exact = all(_is_exact(part, name, dtype) for part in parts)
    return dtype if is_exact else TEXT


def _unlike(parts: Sequence[TablePart], name: str) -> InputError:
    typed = [(part.path, part.schema.field(name).type) for part in parts]
    typed = [(path, dtype) for path, dtype in typed if not pa.types.is_null(dtype)]
    first, dtype = typed[0]
    path, other = next((path, other) for path, other in typed if kind_of(other) != kind_of(dtype))
    return InputError(f"{path}: column {name!r} is {other}, but {dtype} in {first}; cast it in one of them, or drop it")


def _is_exact(part: TablePart, name: str, target: pa.DataType) -> bool:
    """Whether ``target`` holds every value of a part's column exactly, as far as its footer can tell."""
    if not is_rounding(part.schema.field(name).type, target):
        return True
    with open_parquet(part.path) as parquet:
        for index in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(index)
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema == name or column.path_in_schema.startswith(f"{name}."):
                    values = column.statistics
                    if values is None or not (values.has_min_max or values.null_count == column.num_values):
                        return False
                    if values.has_min_max and max(abs(values.min), abs(values.max)) > _EXACT_IN_FLOATS:
                        return False
    return True
