"""The plan of a run: the one that it began with, the one that it is given, or a new one."""

from __future__ import annotations

from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import in_turn
from clipsieve.schemas.scratch import scratch_folder
from clipsieve.training.data.plan import PlanSource, build_plan
from clipsieve.training.data.plan_file import HEADER_NAME, PlanInputs, SamplePlan, open_plan, read_header
from clipsieve.training.data.plan_update import bring_up

_NAME = "plan"
_LOCK_NAME = ".lock"


def plans_of(out: str) -> str:
    """Where a run keeps its plan until it is done: a local folder, in ``out`` where that is one.

    Of a run that writes to an object store each node makes its own.
    """
    fs, _ = files.filesystem(out)
    if isinstance(fs, LocalFileSystem):
        return files.join(out, _NAME)
    return scratch_folder(f"{_NAME}-{files.sha256_text(out)[:16]}")


def run_plan(source: PlanSource, inputs: PlanInputs, plans: str, given: str | None, began: str | None) -> SamplePlan:
    """The plan of these inputs, from the folder ``plans``, from the folder ``given``, or made now.

    ``began`` is the digest of the plan that a run to be resumed began with. Where its shards, subsets or opt-out list
    have changed since, its plan is brought up to them: samples that are gone keep their rows. Processes take turns:
    the first makes the plan. Raises InputError where ``given`` is of other inputs, and as `build_plan`.
    """
    folder = files.join(plans, inputs.key)
    with in_turn(files.join(plans, _LOCK_NAME)):
        candidates = [*([given] if given else []), folder, *files.list_folders(plans)]
        headers = {path: header for path in candidates if (header := read_header(path))}
        if given and given not in headers:
            raise InputError(f"{given}: no plan ({HEADER_NAME}) in this folder; `clipsieve plan` makes one")
        for path, header in headers.items():
            if header.inputs == inputs and began in (None, header.digest):
                return open_plan(path, source.shards)
        for path, header in headers.items():
            if header.digest == began and _may_follow(header.inputs, inputs):
                bring_up(path, folder, source, inputs)
                return open_plan(folder, source.shards)
        if given:
            raise InputError(f"{given}: {_difference(headers[given].inputs, inputs)}; make the plan again")
        build_plan(source, inputs, folder)
        return open_plan(folder, source.shards)


def drop_plan(plans: str) -> None:
    """Remove the plan of a run that is done, or that is refused."""
    files.remove(plans)


def _may_follow(before: PlanInputs, now: PlanInputs) -> bool:
    return (before.allow_missing, before.order, len(before.subsets)) == (
        now.allow_missing,
        now.order,
        len(now.subsets),
    )


def _difference(before: PlanInputs, now: PlanInputs) -> str:
    name = next(name for name in PlanInputs.model_fields if getattr(before, name) != getattr(now, name))
    option = "subset" if name == "subsets" else name
    return f"made from another `{option}`: {getattr(before, name)!r}, not {getattr(now, name)!r}"
