"""The types in which columns pass through: those that Parquet and JSON both carry; a column of any other is text.

The parts of a folder may hold one column in several types. Then it passes through in one type that holds every value of
each of them exactly; where there is none it is text, and where they are of different kinds, as words and numbers, it
has no type.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pt

from clipsieve.schemas import strict_json
from clipsieve.schemas.values import as_json, instant, python_values

TEXT = pa.string()

_TEXTS = (pt.is_string, pt.is_large_string, pt.is_string_view)
_BYTES = (pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary)
_LISTS = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view, pt.is_large_list_view)
_SCALARS = (
    *(pt.is_null, pt.is_boolean, pt.is_integer, pt.is_floating, pt.is_decimal, pt.is_date, pt.is_time, pt.is_duration),
    *(pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary),
)
_KINDS = {
    "text": _TEXTS,
    "bytes": _BYTES,
    "truth": (pt.is_boolean,),
    "number": (pt.is_integer, pt.is_floating, pt.is_decimal),
    "time": (pt.is_timestamp, pt.is_date, pt.is_time, pt.is_duration),
    "list": _LISTS,
    "struct": (pt.is_struct,),
    "map": (pt.is_map,),
}


def common_type(dtypes: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type in which a column of these types passes through; None where they are of different kinds.

    A floating type does not hold every integer of 64 bits: `is_rounding` tells where a cast may have to round.
    """
    distinct = list(dict.fromkeys(dtype for dtype in dtypes if not pt.is_null(dtype))) or [pa.null()]
    if len(distinct) == 1:
        return _carried(distinct[0])
    distinct = list(dict.fromkeys(map(_unpacked, distinct)))
    kinds = {kind_of(dtype) for dtype in distinct}
    if len(kinds) > 1:
        return None
    if len(distinct) == 1:
        return _carried(distinct[0])
    return _shared(kinds.pop(), distinct)


def kind_of(dtype: pa.DataType) -> str:
    """What its values are, in a word: text, bytes, truth, number, time, list, struct or map."""
    dtype = _unpacked(dtype)
    return next((kind for kind, tests in _KINDS.items() if any(test(dtype) for test in tests)), str(dtype))


def is_rounding(dtype: pa.DataType, target: pa.DataType) -> bool:
    """Whether ``dtype`` holds integers, itself or within, that ``target`` of floats may not hold exactly."""
    if any(test(dtype) for test in _LISTS):
        return is_rounding(dtype.value_type, target.value_type) if pt.is_list(target) else False
    return bool(pt.is_integer(dtype) and dtype.bit_width == 64 and pt.is_floating(target))


def carry(column: pa.Array, dtype: pa.DataType) -> pa.Array:
    """``column`` as ``dtype``, which `common_type` gave for it."""
    if column.type == dtype:
        return column
    if dtype == TEXT and not any(test(column.type) for test in (*_TEXTS, pt.is_dictionary, pt.is_null)):
        return _as_text(column)
    return _storage(column).cast(dtype)


def _unpacked(dtype: pa.DataType) -> pa.DataType:
    """The type of the values that a dictionary or an extension's storage holds."""
    if pt.is_dictionary(dtype):
        return _unpacked(dtype.value_type)
    return _unpacked(dtype.storage_type) if isinstance(dtype, pa.BaseExtensionType) else dtype


def _carried(dtype: pa.DataType) -> pa.DataType:
    """``dtype``, or the nearest that Parquet and JSON carry."""
    return _plain(dtype) or TEXT


def _plain(dtype: pa.DataType) -> pa.DataType | None:
    """The type nearest to ``dtype`` that Parquet and JSON carry and that it casts to; None: it is none of theirs."""
    if pt.is_dictionary(dtype):
        is_kept = pt.is_string(dtype.value_type) or pt.is_large_string(dtype.value_type)
        return dtype if is_kept else _plain(dtype.value_type)
    if pt.is_string_view(dtype):
        return pa.string()
    if pt.is_binary_view(dtype):
        return pa.binary()
    if pt.is_timestamp(dtype):
        return dtype if dtype.tz is None or _is_zone(dtype.tz) else None
    if pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype):
        return _plain_list(dtype)
    if pt.is_struct(dtype):
        return _plain_struct(dtype)
    if pt.is_map(dtype):
        is_kept = all(_plain(part) == part for part in (dtype.key_type, dtype.item_type))
        return dtype if is_kept else None
    return dtype if any(test(dtype) for test in _SCALARS) else None


def _plain_list(dtype: pa.DataType) -> pa.DataType | None:
    """Of a list of fixed size, whose nulls Parquet does not keep, a list of any."""
    inner = _plain(dtype.value_type)
    if inner is None:
        return None
    field = dtype.value_field.with_type(inner)
    return pa.large_list(field) if pt.is_large_list(dtype) else pa.list_(field)


def _plain_struct(dtype: pa.StructType) -> pa.DataType | None:
    fields = list(dtype)
    inner = [_plain(field.type) for field in fields]
    if not fields or None in inner or len({field.name for field in fields}) < len(fields):
        return None
    return pa.struct([field.with_type(part) for field, part in zip(fields, inner, strict=True)])


def _is_zone(name: str) -> bool:
    try:
        pa.scalar(0, pa.timestamp("us", name)).as_py()
    except Exception:  # whatever the zone's reader raises
        return False
    return True


def _shared(kind: str, dtypes: Sequence[pa.DataType]) -> pa.DataType:
    """The type of unlike ``dtypes`` of one kind."""
    if kind == "text":
        return pa.large_string() if any(map(pt.is_large_string, dtypes)) else TEXT
    if kind == "bytes":
        return pa.large_binary() if any(map(pt.is_large_binary, dtypes)) else pa.binary()
    if kind == "number":
        return _shared_number(dtypes)
    if kind == "list":
        values = [dtype.value_type for dtype in dtypes]
        inner = common_type(values)
        # Arrow casts a list's values where it casts them alone; what is text by way of Python it does not.
        if inner is not None and (inner != TEXT or {kind_of(value) for value in values} <= {"text", "null"}):
            return pa.list_(inner)
    return TEXT


def _shared_number(dtypes: Sequence[pa.DataType]) -> pa.DataType:
    if any(map(pt.is_decimal, dtypes)):
        return TEXT
    if any(map(pt.is_floating, dtypes)):
        return pa.float64()
    if all(map(pt.is_unsigned_integer, dtypes)):
        return pa.uint64()
    return TEXT if any(pt.is_uint64(dtype) for dtype in dtypes) else pa.int64()


def _as_text(column: pa.Array) -> pa.Array:
    """Numbers and times as Arrow writes them, bytes as hex digits, anything else as its JSON."""
    if kind_of(column.type) in ("truth", "number", "time"):
        return instant(_storage(column)).cast(TEXT)
    return pa.array(map(_text_of, python_values(column)), TEXT)


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _text_of(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    is_nested = isinstance(value, (dict, list, tuple))
    return strict_json.dumps(value, ensure_ascii=False, default=as_json) if is_nested else as_json(value)
