"""A job as a command of its own, `python -m clipsieve.pipelines.score.job`, for machines that only run Beam jobs."""

from __future__ import annotations

import argparse
import atexit
import gc
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_origin

from clipsieve.schemas.errors import ClipsieveError, SignalError, signals_as_errors
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import Options, parse_options


def run_command(
    run: Callable[..., Manifest],
    paths: Sequence[str],
    options_model: type[Options],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a job with ``argv`` (default: the process's) and print its counts; returns the exit status.

    ``paths`` become flags that must be given, in the order in which ``run`` takes them; each field of the
    options is a flag, one with several values takes them side by side; so is each further parameter of ``run``.
    What follows ``--`` is Beam's.
    """
    atexit.register(gc.freeze)  # as `cli.main` does
    arguments = list(sys.argv[1:] if argv is None else argv)
    own, beam_args = arguments, []
    if "--" in arguments:
        own, beam_args = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    values = vars(_parser(run, paths, options_model).parse_args(own))
    given = [values.pop(path) for path in paths]
    further = {name: values.pop(name) for name in _further(run, paths)}
    chosen = {name: value for name, value in values.items() if value is not None}
    try:
        options = parse_options(options_model, chosen, run.__module__)
        with signals_as_errors():
            done = run(*given, options, beam_args, **further)
    except (ClipsieveError, SignalError) as error:
        print(f"{run.__module__}: {error}", file=sys.stderr)
        return error.exit_status
    print(", ".join(f"{name} {count:,}" for name, count in done.counts.shown.items()))
    return 0


def _parser(
    run: Callable[..., Manifest], paths: Sequence[str], options_model: type[Options]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {run.__module__}",
        description=(run.__doc__ or "").split("\n")[0],
        epilog="What follows -- are options of Apache Beam, as in: -- --runner=DataflowRunner --project=NAME",
    )
    for path in paths:
        parser.add_argument(f"--{path}", required=True)
    for name, field in options_model.model_fields.items():
        flag, text = f"--{name.replace('_', '-')}", f"{field.description or ''} [default: {field.default}]"
        if field.annotation is bool:
            action = argparse.BooleanOptionalAction if field.default else "store_true"
            parser.add_argument(flag, action=action, default=None, help=text)
        elif get_origin(field.annotation) is tuple:
            parser.add_argument(flag, nargs="*", help=text)
        else:
            parser.add_argument(flag, help=text)
    for name, default in _further(run, paths).items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true" if default is False else "store")
    return parser


def _further(run: Callable[..., Manifest], paths: Sequence[str]) -> dict[str, Any]:
    """The parameters of ``run`` beyond paths, options and Beam's arguments, with their defaults."""
    further = list(inspect.signature(run).parameters.values())[len(paths) + 2 :]
    return {parameter.name: parameter.default for parameter in further}
