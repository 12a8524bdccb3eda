"""What a recipe can say, a command line can say: of every option of every stage."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import typer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import Options, parse_options
from clipsieve.schemas.options.flags import arguments_of, read_options, with_flags
from clipsieve.schemas.stages import STAGES

FIELDS = [(stage.name, name) for stage in STAGES.values() for name in stage.options.model_fields]
TEXTS = st.one_of(st.just("none"), st.text(st.characters(exclude_categories=["C"]), max_size=8))
SPELLED = {
    "combinations": st.lists(st.sampled_from(["top40_10M", "top5.25_300", "top101_5", "none"]), max_size=3),
    "sizes": st.lists(st.one_of(st.integers(-1, 10**10), st.sampled_from(["10M", "3.4B", "1.5", "none"])), max_size=3),
    "references": st.lists(st.sampled_from(["builtin", "stored", "none"]), max_size=2),
}
"""Values of fields of which hardly any drawn text is one."""


def command_of(model: type[Options]) -> Any:
    """A command of which every flag is an option of ``model``."""

    def stage(options: Any) -> None:
        raise AssertionError("it is not run")

    app = typer.Typer()
    app.command()(with_flags(model)(stage))
    return typer.main.get_command(app)


COMMANDS = {stage.name: command_of(stage.options) for stage in STAGES.values()}


def values(kind: Any, bounds: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of a field as YAML has them, a few of them out of its bounds."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        fields = [rule for rule in inner[1:] if isinstance(rule, FieldInfo)]
        return values(inner[0], (*bounds, *(rule for field in fields for rule in field.metadata)))
    if origin in (Union, UnionType):
        return st.one_of(st.just("none"), *(values(part, bounds) for part in inner))
    if origin is Literal:
        return st.sampled_from([*inner, "none"])
    if origin is tuple and Ellipsis in inner:
        return st.one_of(st.just([]), st.just(["none"]), st.lists(values(inner[0]), max_size=3))
    if origin is tuple:
        return st.tuples(*map(values, inner)).map(list)
    if kind is NoneType:
        return st.none()
    if kind is bool:
        return st.booleans()
    return _of_one(kind, bounds)


def _of_one(kind: Any, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    patterns = [rule.pattern for rule in bounds if getattr(rule, "pattern", None)]
    if kind is str:
        drawn = [TEXTS, *(st.from_regex(pattern, fullmatch=True) for pattern in patterns)]
        return st.one_of(drawn).filter(str.isprintable)
    low, high = _bound(bounds, "ge", "gt", 0), _bound(bounds, "le", "lt", 10**6)
    if kind is int:
        return st.integers(int(low) - 1, int(high) + 1)
    assert kind is float
    return st.floats(float(low) - 1, float(high) + 1)


def _bound(bounds: tuple[Any, ...], inclusive: str, exclusive: str, default: float) -> float:
    found = [getattr(rule, name) for rule in bounds for name in (inclusive, exclusive) if hasattr(rule, name)]
    return found[0] if found else default


def flags(parameter: Any, value: Any) -> list[str]:
    """A command line that says ``value``, as a user would write it."""
    flag = parameter.opts[0]
    if isinstance(value, bool):
        return [flag] if value else parameter.secondary_opts[:1]
    if parameter.nargs > 1:
        return [flag, *map(str, value)]
    written = value if isinstance(value, list) and value else ["none"] if value in (None, []) else [value]
    return [f"{flag}={each}" for each in written]


@pytest.mark.parametrize(("stage", "name"), FIELDS, ids=[f"{stage} {name}" for stage, name in FIELDS])
def test_a_command_line_says_what_a_recipe_says(stage: str, name: str) -> None:
    model, command = STAGES[stage].options, COMMANDS[stage]
    (parameter,) = (parameter for parameter in command.params if parameter.name == name)
    field = model.model_fields[name]

    def read(content: Any) -> Any:
        try:
            return content()
        except InputError as error:
            return InputError, str(error).count("\n")

    @settings(max_examples=20)
    @given(SPELLED[name] if name in SPELLED else values(field.annotation, tuple(field.metadata)))
    def same(value: Any) -> None:
        in_recipe = yaml.safe_load(yaml.safe_dump({name: value}))
        context = command.make_context(stage, flags(parameter, value))
        found = read(lambda: parse_options(model, in_recipe, "recipe"))
        assert found == read(lambda: read_options(model, context)), value
        if isinstance(found, model):
            again = command.make_context(stage, arguments_of(found))
            assert read_options(model, again) == found

    same()


def test_none_is_no_value_and_no_values() -> None:
    context = COMMANDS["train"].make_context("train", ["--grad-clip", "none", "--augment", "none"])
    options = read_options(STAGES["train"].options, context)
    assert (options.grad_clip, options.augment) == (None, "none")
    context = COMMANDS["select"].make_context("select", ["--fraction", "none", "--where", "none"])
    options = read_options(STAGES["select"].options, context)
    assert (options.fractions, options.where) == ((), "none")


def test_a_flag_that_is_given_twice_accumulates() -> None:
    for stage, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.multiple:
                words = [f"{parameter.opts[0]}={word}" for word in ("1", "2")]
                context = command.make_context(stage, words)
                assert list(context.params[parameter.name]) == ["1", "2"]


@pytest.mark.parametrize(
    ("stage", "flag", "reason"),
    [
        ("dedup", "--method", "Tuple should have at least 1 item"),
        ("score", "--reference", "Tuple should have at least 1 item"),
        ("train", "--batch-size", "Input should be a valid integer"),
    ],
)
def test_none_is_refused_by_its_flag_where_a_value_is_needed(stage: str, flag: str, reason: str) -> None:
    context = COMMANDS[stage].make_context(stage, [flag, "none"])
    with pytest.raises(InputError, match=f"^{stage}: {flag}: {reason}"):
        read_options(STAGES[stage].options, context)
