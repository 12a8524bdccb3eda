"""One safetensors file that a run resumes from: weights, the optimizer's state and the number of steps done.

Everything else that a run depends on (the order of the samples, their augmentation, the learning rate, the
random numbers of a step) is a function of the recipe and the step, so a resumed run repeats one that was not
stopped.
"""

from __future__ import annotations

import safetensors.torch
import torch
from safetensors import SafetensorError

from schemas import files
from schemas.errors import InputError


def checkpoint_path(out: str) -> str:
    return files.join(out, "checkpoint", "checkpoint.safetensors")


def save_checkpoint(out: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Write the state after ``steps`` steps, in place of the checkpoint before."""
    tensors = {"steps": torch.tensor(steps)}
    tensors |= {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write_bytes(checkpoint_path(out), safetensors.torch.save(on_cpu))


def load_checkpoint(out: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put the last checkpoint, if there is one, into ``model`` and ``optimizer``; returns the steps done."""
    path = checkpoint_path(out)
    if not files.exists(path):
        return 0
    try:
        tensors = safetensors.torch.load(files.read_bytes(path))
        steps = int(tensors.pop("steps"))
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{path}: not a checkpoint ({error}); remove it to start from step 0") from error
    weights: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "model":
            weights[rest] = tensor
        else:
            index, field = rest.split("/")
            states.setdefault(int(index), {})[field] = tensor
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return steps


def drop_checkpoint(out: str) -> None:
    """Remove the checkpoint of a run that is done."""
    fs, folder = files.filesystem(files.join(out, "checkpoint"))
    if fs.exists(folder):
        fs.rm(folder, recursive=True)
