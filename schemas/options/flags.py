"""The flags of commands: a stage's options, every field of which is one, and those that several commands share.

So a recipe and a command line can say the same.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.options.base import Options, can_be_none, is_many, parse_options

Out = Annotated[str, typer.Option("--out", help="folder to write")]
OptOutList = Annotated[
    str | None, typer.Option("--opt-out", help="list of uids, URLs and domains that must not be used, one per line")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the compute that training would take, and end")]
Devices = Annotated[int, typer.Option(min=1, help="of a dry run: devices that share the batch of a step")]
Mfu = Annotated[
    float, typer.Option(min=0.01, max=1, help="of a dry run: share of the device's peak FLOP/s that is used")
]
RunFolder = Annotated[str, typer.Option("--run", help="a run's folder")]
BEAM = {"allow_extra_args": True, "ignore_unknown_options": False}
"""Settings of a command whose further arguments are Beam's; `beam_args` reads them."""


_NAMED_OPTION = re.compile(r"`(\w+)`")


def with_flags(options_model: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command for Typer: its flags are its own parameters and every field of ``options_model``.

    The function gets the fields as one validated ``options``. A field that holds several values is a flag in the
    singular that may be repeated, ``fractions`` is ``--fraction 20 --fraction 40``, unless the field names its flag
    itself. Errors name options by their fields, in backquotes; those of the command name the flags instead.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
        spellings = {name: _spelling(name, field) for name, field in options_model.model_fields.items()}
        fields = [_flag(name, field, spellings) for name, field in options_model.model_fields.items()]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = {p.name: p for p in (context, *own, *fields)}

        def command(**values: Any) -> None:
            with _errors_naming_flags(flags_of(values["context"])):
                given = {p.name: values[p.name] for p in own}
                function(**given, options=read_options(options_model, values["context"]))

        command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def read_options(options_model: type[Options], context: typer.Context) -> Any:
    """The validated options that the command line of ``context`` says; the others have their defaults."""
    said = {name: context.params[name] for name in options_model.model_fields}
    chosen = {name: value for name, value in said.items() if value is not None and value not in ([], ())}
    return parse_options(options_model, chosen, str(context.info_name), flags_of(context))


def arguments_of(options: Options) -> list[str]:
    """The arguments by which a command line says ``options``, those of the defaults left out."""
    arguments: list[str] = []
    for name, field in type(options).model_fields.items():
        value, flag = getattr(options, name), _spelling(name, field)
        if value == field.default:
            continue
        if field.annotation is bool:
            arguments.append(flag if value else f"--no{flag[1:]}")
        elif is_many(field):
            arguments += [f"{flag}={one}" for one in value] or [f"{flag}=none"]
        elif isinstance(value, tuple):
            arguments += [flag, *map(str, value)]
        else:
            arguments.append(f"{flag}={'none' if value is None else value}")
    return arguments


def flags_of(context: typer.Context) -> dict[str, str]:
    """The flag of each of the command's parameters."""
    return {str(parameter.name): parameter.opts[0] for parameter in context.command.params}


@contextmanager
def _errors_naming_flags(flags: Mapping[str, str]) -> Iterator[None]:
    try:
        yield
    except ClipsieveError as error:
        error.args = (_in_flags(str(error), flags),)
        raise


def _in_flags(text: str, flags: Mapping[str, str]) -> str:
    """``text`` with the flag in place of each option that it names."""
    return _NAMED_OPTION.sub(lambda found: flags.get(found[1], found[0]), text)


def _spelling(name: str, field: FieldInfo) -> str:
    more = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return str(more.get("flag") or "--" + (name[:-1] if is_many(field) else name).replace("_", "-"))


def _flag(name: str, field: FieldInfo, spellings: Mapping[str, str]) -> inspect.Parameter:
    spelling = spellings[name]
    if field.annotation is bool and field.default:
        spelling += f"/--no{spelling[1:]}"
    default = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    text = f"{_in_flags(str(field.description), spellings)} [default: {'none' if default in ('', None) else default}]"
    option = typer.Option(spelling, help=text, metavar=None if field.annotation is bool else _metavar(field))
    annotation: Any = Annotated[_value_type(field), option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _value_type(field: FieldInfo) -> Any:
    """What Typer reads a flag as; the model says whether that is a value of the field."""
    if field.annotation is bool:
        return bool | None
    if is_many(field):
        return list[str] | None
    return tuple[float, float] | None if get_origin(field.annotation) is tuple else str | None


def _metavar(field: FieldInfo) -> str:
    """What a flag takes, for the help: the words to choose from, else the type of each value; and whether ``none``."""
    kinds = list(_kinds(field.annotation))
    return " ".join(f"<{kind}|none>" if can_be_none(field) else f"<{kind}>" for kind in kinds)


def _kinds(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield "|".join(get_args(annotation))
    elif get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif inner := [argument for argument in get_args(annotation) if argument not in (NoneType, Ellipsis)]:
        for argument in inner:
            yield from _kinds(argument)
    else:
        yield annotation.__name__


def beam_args(context: typer.Context) -> list[str]:
    """What follows ``--``. Raises InputError for a stray word, which Beam would pass over in silence."""
    if context.args and not context.args[0].startswith("-"):
        raise InputError(f"{context.info_name}: unexpected {context.args[0]!r}; Beam's options follow --")
    return context.args
