"""Arrow's values as Python's and JSON's, whatever their type and however far out of Python's range."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """``column.to_pylist()``; a value that Python has no object for, as a date after the year 9999, is its text."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, LookupError):
        return [_python_value(scalar) for scalar in column]


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """``table.to_pylist()`` of `python_values`."""
    columns = [python_values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def as_json(value: Any) -> str:
    """The text of a value that JSON has no form for: bytes as hex digits, others as Python writes them."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError):
        if isinstance(scalar, pa.ListScalar):
            return python_values(scalar.values)
        if isinstance(scalar, pa.StructScalar):
            pairs = [(field.name, _python_value(scalar[place])) for place, field in enumerate(scalar.type)]
            return dict(pairs) if len(dict(pairs)) == len(pairs) else pairs
        return instant(scalar).cast(pa.string()).as_py()


def instant(times: Any) -> Any:
    """Timestamps of any zone, a column or one, in UTC: the zone may be one that nobody knows. Others as they are."""
    if pa.types.is_timestamp(times.type) and times.type.tz is not None:
        return times.cast(pa.timestamp(times.type.unit, "UTC"))
    return times
