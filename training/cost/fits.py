"""Whether a dry run's memory fits into devices that there are, and which options make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clipsieve.schemas.errors import InputError
from clipsieve.training.cost.dry_run import DryRun, dry_run

_GIB = 2**30
DEVICE_GIB = {"A100 or H100": 80, "H200": 141}
_SMALLEST = min(DEVICE_GIB.values())


def memory_warnings(runs: Mapping[str, DryRun]) -> Iterator[str]:
    """A line for each run that takes more than the smallest device has: more than which, and what helps."""
    for name, run in runs.items():
        needed = _gib(run)
        exceeded = [f"{size} GiB of an {device}" for device, size in DEVICE_GIB.items() if needed > size]
        if exceeded:
            yield f"{name}: {needed:.0f} GiB a device, more than the {' and the '.join(exceeded)}; {_help(run)}"


def _help(run: DryRun) -> str:
    """The options that bring the run into the smallest device, and what it takes then. They leave the model the same,
    and are taken one after the other while they are needed."""
    chosen: dict[str, Any] = {}
    for option in ("checkpoint_activations", "parallel", "accumulate"):
        if _gib(run) <= _SMALLEST:
            break
        change = {"checkpoint_activations": True, "parallel": "fsdp", "accumulate": _parts(run)}[option]
        changed = _changed(run, {option: change})
        if changed is not None and _gib(changed) < _gib(run):
            chosen[option], run = change, changed
    if not chosen:
        return "take more devices"
    named = " and ".join(f"`{option}`" + (f" {value}" if value is not True else "") for option, value in chosen.items())
    return f"with {named} it is {_gib(run):.0f} GiB"


def _parts(run: DryRun) -> int:
    """Micro-batches, twice as many until their activations have room next to what else there is."""
    activations = run.memory.checkpointed if run.options.checkpoint_activations else run.memory.activations
    room, parts = _SMALLEST * _GIB - (_bytes(run) - activations), 1
    while activations / parts > room and run.options.accumulate * parts < run.device_batch:
        parts *= 2
    return run.options.accumulate * parts


def _changed(run: DryRun, change: Mapping[str, Any]) -> DryRun | None:
    """The run with another option; None where it cannot have it."""
    try:
        return dry_run(run.options.model_copy(update=change), run.devices)
    except InputError:
        return None


def _bytes(run: DryRun) -> int:
    return run.memory.total(run.options.checkpoint_activations)


def _gib(run: DryRun) -> float:
    return _bytes(run) / _GIB
