"""What a run resumes from: safetensors files of weights and optimizer state, written while training goes on.

Everything else that a run depends on (the order of the samples, their augmentation, the learning rate, the random
numbers of a step) is a function of the recipe and the step, so a resumed run repeats one that was not stopped. A file
says what made it: recipe, digests of the input, the data's manifest, the code's digest. Tensors are by name and whole
whatever processes share them, so DDP and FSDP read each other's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.threads import Future, open_pool

_SUFFIX = ".safetensors"
_KEY = "clipsieve"


class PlanMark(BaseModel):
    """The plan of a run's samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    """As the run began with it."""
    samples: int
    gone: int
    """How many of the samples were taken down, or came to be listed by the opt-out list, since."""


class RunOrigin(BaseModel):
    """What decides a run's weights, besides the step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: dict[str, Any]
    """Options that may change without changing the weights are left out."""
    inputs: dict[str, str]
    code: str
    """Digest of the trainer's source files."""
    data: dict[str, Any] | None
    """The manifest of the shards; None: they are not clipsieve's."""
    plan: PlanMark | None = None
    lost_pairs: dict[str, list[str | None]] = {}
    """Of inputs that lost pairs while the run was stopped, the digests that they had, the first one first."""


class Progress(BaseModel):
    """How far a run is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = 0
    loss_average: float | None = None
    """Exponential moving average of the loss; None: before the first step."""
    seconds: float = 0.0
    """Time that training took so far, of one process."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    origin: RunOrigin
    progress: Progress


def folder_of(out: str) -> str:
    return files.join(out, "checkpoints")


def state_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer, is_first: bool) -> dict[str, torch.Tensor]:
    """A copy of weights and optimizer state on the CPU; empty but in the first process. Every process calls it."""
    named = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for field, value in optimizer.state.get(parameter, {}).items():
            named[f"optimizer/{name}/{field}"] = value
    return gathered(named, is_first)


def gathered(tensors: Mapping[str, torch.Tensor], is_first: bool) -> dict[str, torch.Tensor]:
    """Copies of the whole tensors on the CPU; empty but in the first process. Every process calls it."""
    copies = {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
        if is_first:
            copies[name] = torch.empty_like(whole, device="cpu", memory_format=torch.contiguous_format).copy_(whole)
    return copies


class CheckpointWriter:
    """Writes checkpoints in a thread, at most one at a time, and keeps the last and the best.

    What cannot be written raises ClipsieveError at the next call, or where the ``with`` block ends; the checkpoints
    before stay as they are.
    """

    def __init__(self, out: str, origin: RunOrigin, minutes: float) -> None:
        self._folder, self._origin, self._seconds = folder_of(out), origin, minutes * 60
        self._saved = time.monotonic()
        self._pool = open_pool(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._kept = {path: _header(path).progress for path in files.list_files(self._folder, _SUFFIX)}

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown()
        if error is None:
            self.wait()

    @property
    def is_due(self) -> bool:
        """Whether more than the given minutes went by since the last checkpoint."""
        return time.monotonic() - self._saved > self._seconds

    def save(self, state: dict[str, torch.Tensor], progress: Progress) -> None:
        """Begin to write ``state``, which nobody else may change; waits for the one before."""
        self.wait()
        self._saved = time.monotonic()
        self._writing = self._pool.submit(self._write, state, progress)

    def wait(self) -> None:
        """Until what was begun is written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, state: dict[str, torch.Tensor], progress: Progress) -> None:
        header = _Header(origin=self._origin, progress=progress).model_dump_json()
        path = files.join(self._folder, f"{progress.steps:08d}{_SUFFIX}")
        files.write_bytes(path, safetensors.torch.save(state, {_KEY: header}))
        self._kept[path] = progress
        for old in set(self._kept) - kept_of(self._kept):
            files.remove(old)
            del self._kept[old]


def kept_of(saved: Mapping[str, Progress]) -> set[str]:
    """Of checkpoints by name, the last one and the one of the least average loss."""
    last = max(saved, key=lambda name: saved[name].steps)
    best = min(saved, key=lambda name: (_loss(saved[name]), -saved[name].steps))
    return {last, best}


def load_checkpoint(
    out: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, origin: RunOrigin, any_code: bool = False
) -> Progress:
    """Put the last checkpoint, if there is one, into ``model`` and ``optimizer``.

    Raises InputError for a damaged one, and for one of another recipe, input or, unless ``any_code``, code.
    """
    paths = files.list_files(folder_of(out), _SUFFIX)
    if not paths:
        return Progress()
    path = paths[-1]
    header = _header(path)
    _refuse_difference(path, header.origin, origin, any_code)
    try:
        tensors = safetensors.torch.load(files.read_bytes(path))
    except SafetensorError as error:
        raise _damaged(path, error) from error
    _load_model(model, {name: tensors.pop(f"model/{name}") for name in model.state_dict()})
    _load_optimizer(optimizer, dict(model.named_parameters()), tensors)
    return header.progress


def last_origin(out: str) -> RunOrigin | None:
    """What made the last checkpoint; None where there is none. Raises InputError for a damaged one."""
    paths = files.list_files(folder_of(out), _SUFFIX)
    return _header(paths[-1]).origin if paths else None


def drop_checkpoints(out: str) -> None:
    """Remove the checkpoints of a run that is done."""
    files.remove(folder_of(out))


@torch.no_grad()
def _load_model(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        tensor.copy_(_like(weights[name], tensor))


def _load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    numbers = {id(p): n for n, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in sorted(tensors.items()):  # in every process alike: sharing a tensor takes them all
        name, _, field = key.removeprefix("optimizer/").rpartition("/")
        parameter = parameters[name]
        states.setdefault(numbers[id(parameter)], {})[field] = _like(tensor, parameter)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(whole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``whole``, laid out and shared by the processes as ``other`` is where it has its shape; held by each where not.

    A fused optimizer takes a parameter's elements and its state's in the order in which they lie.
    """
    if not isinstance(other, DTensor) or not whole.ndim:
        is_state_of = whole.shape == other.shape
        return torch.empty_like(other, dtype=whole.dtype, device=whole.device).copy_(whole) if is_state_of else whole
    placements = other.placements if whole.shape == other.shape else [Replicate()]
    return distribute_tensor(whole.to(other.device), other.device_mesh, placements)


def _header(path: str) -> _Header:
    """What a checkpoint says of itself; its tensors are not read."""
    with files.open_read(path) as stream:
        try:
            length = int.from_bytes(stream.read(8), "little")
            return _Header.model_validate_json(json.loads(stream.read(length))["__metadata__"][_KEY])
        except (ValueError, KeyError, TypeError, OverflowError, MemoryError, ValidationError) as error:
            raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0]
    return InputError(f"{path}: not a checkpoint ({reason}); remove it to resume from the one before, or from step 0")


def _refuse_difference(path: str, before: RunOrigin, now: RunOrigin, any_code: bool) -> None:
    for what in ("recipe", "inputs"):
        old, new = getattr(before, what), getattr(now, what)
        for name in sorted({*old, *new}):
            lost = now.lost_pairs.get(name, ()) if what == "inputs" else ()
            if old.get(name) != new.get(name) and old.get(name) not in lost:
                was, given = old.get(name), new.get(name)
                raise InputError(f"{path}: made with another {what}: `{name}` was {was!r}, now {given!r}")
    if before.plan and now.plan and before.plan.digest != now.plan.digest:
        raise InputError(
            f"{path}: made with another plan, of {before.plan.samples:,} samples, now of {now.plan.samples:,}: the "
            "shards or subsets are not what they were; restore them, or give the run's own by `plan`"
        )
    if before.code != now.code and not any_code:
        raise InputError(
            f"{path}: the checkpoint was written by another version of the trainer ({before.code[:12]}, now "
            f"{now.code[:12]}): use that version, or set `any_code`"
        )


def _loss(progress: Progress) -> float:
    return float("inf") if progress.loss_average is None else progress.loss_average
