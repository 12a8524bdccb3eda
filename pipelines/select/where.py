"""`--where`: a condition on the columns of the score files, in a small part of Python's own syntax.

    original_width >= 200 and original_height >= 200
    language == 'en' or not caption_words < 3
    200 <= original_width < 4096 and language in ['en', 'de'] and punsafe is not None

Names are columns; besides them there are numbers, strings, True, False, None and lists of these, comparisons, in,
is (not) None, and, or, not and brackets. As in SQL a comparison with a missing value is neither true nor false,
and a condition that is not true does not hold. The text is parsed and walked, never executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas.errors import InputError

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_MEMBERSHIPS = (ast.In, ast.NotIn, ast.Is, ast.IsNot)
_SYNTAX = (
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, *_COMPARISONS, *_MEMBERSHIPS),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)


@dataclass(frozen=True)
class Where:
    """A condition, parsed; of an empty text the one that holds for every row."""

    text: str
    tree: ast.expr
    columns: tuple[str, ...]
    """The columns that it names, each once."""

    def holds(self, rows: pa.RecordBatch, path: str) -> np.ndarray:
        """bool[N]: for which rows of the file at ``path``, which has the `columns`, the condition is true.

        Raises InputError where a column is of a type that the condition does not suit.
        """
        if not self.columns:
            return np.ones(len(rows), bool)
        try:
            truth = pc.fill_null(_truth(self.tree, rows), False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: `where` {self.text!r} does not suit its columns: {reason}") from error
        return np.asarray(truth.to_numpy(zero_copy_only=False))


@lru_cache(maxsize=2)
def parse_where(text: str) -> Where:
    """Read a condition; what is not of the syntax above is an InputError."""
    try:
        tree = ast.parse(text.strip() or "True", mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"`where`: {text!r} is not a condition: {error}") from error
    nodes = list(ast.walk(tree))
    for node in nodes:
        if not isinstance(node, _SYNTAX):
            raise InputError(f"`where`: {ast.unparse(node) or text!r} is more than a condition on columns may hold")
    columns = tuple(dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name)))
    if text.strip() and not columns:
        raise InputError(f"`where`: {text!r} names no column")
    return Where(text, tree, columns)


def _truth(node: ast.expr, rows: pa.RecordBatch) -> pa.Array:
    """bool[N], null where it is neither true nor false."""
    if isinstance(node, ast.BoolOp):
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        return reduce(combine, (_truth(value, rows) for value in node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return pc.invert(_truth(node.operand, rows))
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        links = (_compare(op, *pair, rows) for op, pair in zip(node.ops, pairwise(sides), strict=True))
        return reduce(pc.and_kleene, links)
    column = _column(node, rows)
    if not pa.types.is_boolean(column.type):
        raise pa.ArrowInvalid(f"{ast.unparse(node)} is {column.type}, not true or false")
    return column


def _compare(op: ast.cmpop, left: ast.expr, right: ast.expr, rows: pa.RecordBatch) -> pa.Array:
    if isinstance(op, _MEMBERSHIPS):
        column = _column(left, rows)
        if isinstance(op, (ast.Is, ast.IsNot)):
            return pc.is_null(column) if isinstance(op, ast.Is) else pc.is_valid(column)
        if not isinstance(right, (ast.List, ast.Tuple)):
            raise pa.ArrowInvalid(f"{ast.unparse(right)} stands where a list should")
        found = pc.is_in(column, value_set=pa.array(_literal(right), column.type))
        found = pc.if_else(pc.is_null(column), None, found)
        return found if isinstance(op, ast.In) else pc.invert(found)
    compare = _COMPARISONS[type(op)]
    if isinstance(left, ast.Name) and isinstance(right, ast.Name):
        return compare(_column(left, rows), _column(right, rows))
    if isinstance(left, ast.Name):
        column = _column(left, rows)
        return compare(column, _scalar(right, column.type))
    column = _column(right, rows)
    return compare(_scalar(left, column.type), column)


def _column(node: ast.expr, rows: pa.RecordBatch) -> pa.Array:
    if not isinstance(node, ast.Name):
        raise pa.ArrowInvalid(f"{ast.unparse(node)} stands where a column should")
    return rows[node.id]


def _scalar(node: ast.expr, column_type: pa.DataType) -> pa.Scalar:
    """A literal as a column's neighbour: 0.7 next to float32 is float32's 0.7, so that a column holds what it shows."""
    value = _literal(node)
    return pa.scalar(value, column_type) if pa.types.is_floating(column_type) else pa.scalar(value)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise pa.ArrowInvalid(f"{ast.unparse(node)} stands where a value should") from error
