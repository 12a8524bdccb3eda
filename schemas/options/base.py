"""What the options of every stage share: their base, the kinds of their fields, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.sizes import parse_size

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
FailureShare = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[
    int, BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value), Field(gt=0)
]


def _split_names(value: Any) -> Any:
    """``A,B`` as A and B, within a list too."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        return value
    names = tuple(name for text in values for name in str(text).split(",") if name)
    return () if names == ("none",) else names


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


class Options(BaseModel):
    """Base of every stage's options: unknown keys are refused, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    may_change: ClassVar[frozenset[str]] = frozenset()
    """Fields that may have another value when a folder is resumed, for they decide nothing of what is made."""

    @field_validator("*", mode="before")
    @classmethod
    def _none(cls, value: Any, info: ValidationInfo) -> Any:
        """``none`` is no value, or no values: a flag has no other word for ``null`` and ``[]``."""
        field = cls.model_fields[str(info.field_name)]
        if is_many(field):
            return () if value in ("none", ["none"]) else value
        return None if value == "none" and can_be_none(field) else value


def is_many(field: FieldInfo) -> bool:
    """Whether the field holds any number of values."""
    return get_origin(field.annotation) is tuple and Ellipsis in get_args(field.annotation)


def can_be_none(field: FieldInfo) -> bool:
    """Whether the field may have no value, or hold no values."""
    if is_many(field):
        return not any(getattr(rule, "min_length", 0) for rule in field.metadata)
    return NoneType in get_args(field.annotation)


def parse_options(
    model: type[Any], content: Mapping[str, Any], where: str, flags: Mapping[str, str] | None = None
) -> Any:
    """Validate ``content`` as ``model``; the first wrong field becomes a one-line InputError.

    It names the field as a recipe does, or by its flag where ``flags`` has the fields' flags.
    """
    try:
        return model(**content)
    except ValidationError as error:
        raise InputError(f"{where}: {_first_complaint(error, flags)}") from error


def _first_complaint(error: ValidationError, flags: Mapping[str, str] | None) -> str:
    """The first wrong field, why and what it is; of options that do not go together only why, for that names them."""
    first = error.errors()[0]
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
    place = first["loc"][:1] if flags else first["loc"]  # which of a flag's values it is, the value itself says
    field = ".".join((flags or {}).get(str(name), str(name)) for name in place)
    return ": ".join([*filter(None, [field]), reason]) + got
