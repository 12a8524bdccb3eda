"""The flags of commands: a stage's options, every field of which is one, and those that several commands share.

So a recipe and a command line can say the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options.base import Options, parse_options

Out = Annotated[str, typer.Option("--out", help="folder to write")]
OptOutList = Annotated[
    str | None, typer.Option("--opt-out", help="list of uids, URLs and domains that must not be used, one a line")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what training would take, by arithmetic, and end")]
Devices = Annotated[int, typer.Option(min=1, help="of a dry run: devices that share a step's batch")]
Mfu = Annotated[float, typer.Option(min=0.01, max=1, help="of a dry run: share of a device's peak FLOP/s that is used")]
RunFolder = Annotated[str, typer.Option("--run", help="a run's folder")]
BEAM = {"allow_extra_args": True, "ignore_unknown_options": False}
"""Settings of a command whose further arguments are Beam's; `beam_args` reads them."""


def with_flags(options_model: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command for Typer: its flags are its own parameters and every field of ``options_model``.

    The function gets the fields as one validated ``options``. A field that holds several values is a flag in the
    singular that may be repeated, ``fractions`` is ``--fraction 20 --fraction 40``, unless the field names its flag
    itself.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
        flags = [_flag(name, field) for name, field in options_model.model_fields.items()]

        def command(**values: Any) -> None:
            given = {p.name: values.pop(p.name) for p in own}
            chosen = {name: value for name, value in values.items() if value not in (None, [])}
            function(**given, options=parse_options(options_model, chosen, function.__name__))

        command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    is_many = get_origin(field.annotation) is tuple and Ellipsis in get_args(field.annotation)
    more = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    spelling = str(more.get("flag") or "--" + (name[:-1] if is_many else name).replace("_", "-"))
    if field.annotation is bool and field.default:
        spelling += f"/--no{spelling[1:]}"
    default = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    text = f"{field.description or ''} [default: {'none' if default in ('', None) else default}]".strip()
    option = typer.Option(spelling, help=text, metavar=None if field.annotation is bool else _metavar(field.annotation))
    annotation: Any = Annotated[_value_type(field, is_many), option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _value_type(field: FieldInfo, is_many: bool) -> Any:
    """What Typer reads a flag as; the model says whether that is a value of the field."""
    if field.annotation is bool:
        return bool | None
    if is_many:
        return list[str] | None
    return tuple[float, float] | None if get_origin(field.annotation) is tuple else str | None


def _metavar(kind: Any) -> str:
    """What a flag of the type ``kind`` takes, for the help: the words to choose from, else the type of each value."""
    if get_origin(kind) is Literal:
        return f"<{'|'.join(get_args(kind))}>"
    inner = [argument for argument in get_args(kind) if argument not in (NoneType, Ellipsis)]
    if get_origin(kind) is Annotated or not inner:
        return f"<{(inner[0] if inner else kind).__name__}>"
    return " ".join(map(_metavar, inner))


def beam_args(context: typer.Context) -> list[str]:
    """What follows ``--``. Raises InputError for a stray word, which Beam would pass over in silence."""
    if context.args and not context.args[0].startswith("-"):
        raise InputError(f"{context.info_name}: unexpected {context.args[0]!r}; Beam's options follow --")
    return context.args
