"""How every job runs: on this machine by default, on whatever runner the Beam options name otherwise.

On one core the FnApiRunner runs in this process; on more, in as many worker processes as there are cores and
tasks. The unit of work is a shard, so only names and small numbers cross between stages (law 3).
"""

from __future__ import annotations

import logging
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from traceback import format_exception_only

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner, DirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from clipsieve.pipelines.engine import (
    watched_workers,  # noqa: F401  registers itself with Beam
    worker,
)
from clipsieve.schemas import errors
from clipsieve.schemas.errors import ClipsieveError, InputError, SignalError, one_line
from clipsieve.schemas.threads import cores

_RAISED_IN_WORKER = re.compile(r"(?:RuntimeError: )?(?:clipsieve\.schemas\.errors\.(\w+)|\w+: \[Errno \d+\]):? (.*)")
_WHERE_IN_PIPELINE = re.compile(r" \[while running '.*$", re.DOTALL)


def run_job(build: Callable[[beam.Pipeline], object], tasks: int, beam_args: Sequence[str] = ()) -> None:
    """Build a pipeline and run it to its end.

    ``tasks`` is how many elements can be worked on at a time; ``beam_args`` are Beam's own options. An error
    of ours that a worker raised is raised here again as itself, one of the system (a full disk) as a
    ClipsieveError, any other failure as Beam reports it.
    """
    pipeline = new_pipeline(tasks, beam_args)
    build(pipeline)
    try:
        with _quiet_beam():
            _submit(pipeline, beam_args).wait_until_finish()
    except (Exception, SignalError) as error:
        raise _as_raised(error) from error


def _submit(pipeline: beam.Pipeline, beam_args: Sequence[str]) -> PipelineResult:
    """Run a pipeline here, or hand it to the runner elsewhere that ``beam_args`` name.

    Raises InputError where that runner does not take it: it lacks an option, a program or its service.
    """
    if isinstance(pipeline.runner, FnApiRunner | DirectRunner | BundleBasedDirectRunner):
        return pipeline.run()
    try:
        return pipeline.run()
    except Exception as error:
        raise InputError(f"{' '.join(beam_args)}: the runner does not take the job ({one_line(error)})") from error


def new_pipeline(tasks: int, beam_args: Sequence[str] = ()) -> beam.Pipeline:
    """A pipeline on the runner that ``beam_args`` name, or on this machine's cores where they name none.

    Raises InputError for a runner that Beam does not know, or that lacks a package or an option.
    """
    if names_runner(beam_args):
        try:
            return beam.Pipeline(options=PipelineOptions(list(beam_args)))
        except (ValueError, ImportError) as error:
            raise InputError(f"{' '.join(beam_args)}: {one_line(error)}") from error
    workers = min(cores(), tasks)
    if workers <= 1:
        return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(beam_args)))
    processes = SubprocessSDKEnvironment.from_command_string(shlex.join(worker.command()))
    options = PipelineOptions([*beam_args, f"--direct_num_workers={workers}"])
    return beam.Pipeline(runner=FnApiRunner(default_environment=processes), options=options)


def threads_per_worker(tasks: int, beam_args: Sequence[str] = ()) -> int:
    """How many threads an element may use, so that a job of ``tasks`` elements fills this machine's cores.

    A runner that ``beam_args`` name starts a worker per core by itself.
    """
    return 1 if names_runner(beam_args) else max(1, cores() // max(1, tasks))


def names_runner(beam_args: Sequence[str]) -> bool:
    return any(arg.startswith("--runner") for arg in beam_args)


@contextmanager
def _quiet_beam() -> Iterator[None]:
    """Keep from the terminal what Beam logs, and the traceback of each thread that spoke to a worker which is gone."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    hook = threading.excepthook

    def show(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, grpc.RpcError):
            hook(failed)

    threading.excepthook = show
    try:
        yield
    finally:
        threading.excepthook = hook


def _as_raised(error: BaseException) -> BaseException:
    """Our own error, freed of what Beam adds to its text; the system's as one of ours; any other as it is.

    A worker process hands its exception over as the text of a traceback, whose last line at the margin
    names it.
    """
    if isinstance(error, ClipsieveError | SignalError):
        return type(error)(_WHERE_IN_PIPELINE.sub("", error.args[0]), *error.args[1:])
    at_margin = [line for line in "".join(format_exception_only(error)).splitlines() if line[:1].strip()]
    match = _RAISED_IN_WORKER.fullmatch(at_margin[-1]) if at_margin else None
    if match is None:
        return error
    name, message = match.groups()
    kind = getattr(errors, name) if name else ClipsieveError
    return kind(_WHERE_IN_PIPELINE.sub("", message))
