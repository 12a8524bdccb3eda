"""What the options of every stage share: their base, the kinds of their fields, and how they are read."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.sizes import parse_size

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[
    int, BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value), Field(gt=0)
]


def _split_names(value: Any) -> Any:
    """``A,B`` as A and B, within a list too."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        return value
    return tuple(name for text in values for name in str(text).split(",") if name)


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


class Options(BaseModel):
    """Base of every stage's options: unknown keys are refused, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    may_change: ClassVar[frozenset[str]] = frozenset()
    """Fields that may have another value when a folder is gone on with, for they decide nothing of what is made."""


def parse_options(model: type[Any], content: dict[str, Any], where: str) -> Any:
    """Validate ``content`` as ``model``; the first wrong field becomes a one-line InputError."""
    try:
        return model(**content)
    except ValidationError as error:
        raise InputError(f"{where}: {_first_complaint(error)}") from error


def _first_complaint(error: ValidationError) -> str:
    """The first wrong field, why and what it is; of options that do not go together only why, for that names them."""
    first = error.errors()[0]
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
    return ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), reason]) + got
