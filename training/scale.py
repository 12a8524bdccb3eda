"""How a strategy runs on several processes, in less memory, or compiled: the same numbers in each way."""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import Strategy


def distribute(strategy: Strategy, options: TrainOptions, runtime: Runtime) -> torch.nn.Module:
    """What the step calls in the strategy's place; to be called before the optimizer is made.

    With ``parallel: fsdp`` it is the strategy itself, whose parameters are then DTensors, each process holding its
    share (FSDP2), but for those of the loss. Batch norms take their statistics over all GPUs. On CPUs torch has none
    that do: each process takes its own there, and only towers without them train as in one process.
    """
    if options.parallel == "ddp":  # FSDP2 shares out contiguous tensors alone
        # As the images lie: the same sums, without turning each kernel and its gradient about at every step.
        strategy.to(memory_format=torch.channels_last)
    if options.checkpoint_activations:
        strategy.model.set_grad_checkpointing()
    layers = repeated_layers(strategy.model)
    if options.compile:
        for layer in layers:
            layer.compile()
    if runtime.control is None:
        return strategy
    is_cpu = runtime.device.type == "cpu"
    if not is_cpu:
        SyncBatchNorm.convert_sync_batchnorm(strategy)
    if options.parallel == "ddp":
        return DistributedDataParallel(strategy, device_ids=None if is_cpu else [runtime.device])
    mesh = init_device_mesh(runtime.device.type, (runtime.world_size,))
    whole = {parameter for parameter in strategy.parameters() if parameter.ndim == 0} | {*strategy.loss_parameters()}
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(strategy, mesh=mesh, ignored_params=whole)
    return strategy


def repeated_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The outermost layers that a tower stacks: a transformer's blocks, a ResNet's bottlenecks, ConvNeXt's stages."""
    layers: list[torch.nn.Module] = []
    for child in model.children():
        stacked = list(child.children()) if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential) else []
        is_stack = len({type(layer) for layer in stacked}) == 1 and any(stacked[0].children())
        layers += stacked if is_stack else repeated_layers(child)
    return layers
