"""What a run resumes from: safetensors files of weights and optimizer state.

Everything else that a run depends on (the order of the samples, their augmentation, the learning rate, the random
numbers of a step) is a function of the recipe and the step, so a resumed run repeats one that was not stopped. A file
says what made it: recipe, digests of the input, the data's manifest, the code's digest. Tensors are by name and whole
whatever processes share them, so DDP and FSDP read each other's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from clipsieve.schemas import files
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.ledger import Ledger

_SUFFIX = ".safetensors"
METADATA_KEY = "clipsieve"
"""Under which a file's metadata has its `CheckpointHeader`."""


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


class CheckpointHeader(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    origin: RunOrigin
    progress: Progress
    counts: TrainCounts
    """Of the model that it is, as of one that was trained to the end."""
    ledger: Ledger


def folder_of(out: str) -> str:
    """Where a run's checkpoints are."""
    return files.join(out, "checkpoints")


def checkpoint_path(out: str, steps: int) -> str:
    return files.join(folder_of(out), f"{steps:08d}{_SUFFIX}")


def checkpoint_paths(out: str) -> list[str]:
    """Those that there are, the last one last."""
    return files.list_files(folder_of(out), _SUFFIX)


def steps_of(path: str) -> int:
    """Of the checkpoint at ``path``."""
    return int(files.name_of(path).removesuffix(_SUFFIX))


def state_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights and optimizer state by name, not copied."""
    named = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for field, value in optimizer.state.get(parameter, {}).items():
            named[f"optimizer/{name}/{field}"] = value
    return named


def gathered(
    tensors: Mapping[str, torch.Tensor], is_first: bool, copies: dict[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Copies of the whole tensors on the CPU; empty but in the first process. Every process calls it.

    Where ``copies`` of tensors of the same names are given, it is into their memory.
    """
    copies = {} if copies is None else copies
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
        if not is_first:
            continue
        if (
            name not in copies
        ):  # pinned, so that a GPU copies by itself; a page's first touch takes longer than its copy
            copies[name] = torch.empty(whole.shape, dtype=whole.dtype, device="cpu", pin_memory=whole.is_cuda)
        copies[name].copy_(whole, non_blocking=True)
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return copies


def load_checkpoint(
    out: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, origin: RunOrigin, any_code: bool = False
) -> Progress:
    """Put the last checkpoint, if there is one, into ``model`` and ``optimizer``.

    Raises InputError for a damaged one, and for one of another recipe, input or, unless ``any_code``, code.
    """
    paths = checkpoint_paths(out)
    if not paths:
        return Progress()
    path = paths[-1]
    header = read_header(path)
    _refuse_difference(path, header.origin, origin, any_code)
    try:
        tensors = safetensors.torch.load(files.read_bytes(path))
    except SafetensorError as error:
        raise damaged(path, error) from error
    _load_model(model, {name: tensors.pop(f"model/{name}") for name in model.state_dict()})
    _load_optimizer(optimizer, dict(model.named_parameters()), tensors)
    return header.progress


def last_origin(out: str) -> RunOrigin | None:
    """What made the last checkpoint; None where there is none. Raises InputError for a damaged one."""
    paths = checkpoint_paths(out)
    return read_header(paths[-1]).origin if paths else None


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


def read_header(path: str) -> CheckpointHeader:
    """What a checkpoint says of itself; its tensors are not read."""
    with files.open_read(path) as stream:
        return header_in(stream, path)


def header_in(stream: IO[bytes], path: str) -> CheckpointHeader:
    """What the checkpoint of a ``path`` says of itself, read from the start of its bytes."""
    try:
        length = int.from_bytes(stream.read(8), "little")
        return CheckpointHeader.model_validate_json(json.loads(stream.read(length))["__metadata__"][METADATA_KEY])
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError, ValidationError) as error:
        raise damaged(path, error) from error


def damaged(path: str, error: Exception) -> InputError:
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
