"""JSON as RFC 8259 has it: Python's own writes NaN and Infinity, which other readers refuse."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(content: Any, **options: Any) -> str:
    """`json.dumps`, with its options; a number that is not finite becomes null."""
    try:
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_finite(name) if isinstance(name, float) else name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
