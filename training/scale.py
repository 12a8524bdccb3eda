"""How a strategy runs on several processes, in less memory, or compiled: the same numbers in each way."""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import Strategy


def distribute(strategy: Strategy, options: TrainOptions, runtime: Runtime) -> torch.nn.Module:
    """What the step calls instead of the strategy; to be called before the optimizer is made.

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
    if runtime.device.type != "cpu":
        SyncBatchNorm.convert_sync_batchnorm(strategy.model)  # a loss's own norms see to all processes by themselves
    if options.parallel == "ddp":
        return _replicated(strategy, runtime)
    _share_out(strategy, layers, options, runtime)
    return strategy


def _replicated(strategy: Strategy, runtime: Runtime) -> DistributedDataParallel:
    return DistributedDataParallel(
        strategy,
        device_ids=None if runtime.device.type == "cpu" else [runtime.device],
        # The buffers that move are batch norms' averages, which on GPUs are equal already, and which no step reads.
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def _share_out(strategy: Strategy, layers: list[torch.nn.Module], options: TrainOptions, runtime: Runtime) -> None:
    """FSDP2 over all processes, or within each of several replicas (HSDP), which average their gradients."""
    sizes = options.replicas, runtime.world_size // options.replicas
    mesh = init_device_mesh(runtime.device.type, sizes, mesh_dim_names=("replicate", "shard"))
    if options.replicas == 1:
        mesh = mesh["shard"]
    policy = MixedPrecisionPolicy()
    if options.precision == "bf16":  # half the bytes of an all-gather; gradients are summed in fp32
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    whole = {parameter for parameter in strategy.parameters() if parameter.ndim == 0} | {*strategy.loss_parameters()}
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(strategy, mesh=mesh, mp_policy=policy, ignored_params=whole)


def repeated_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The outermost layers that a tower stacks: a transformer's blocks, a ResNet's bottlenecks, ConvNeXt's stages."""
    layers: list[torch.nn.Module] = []
    for child in model.children():
        stacked = list(child.children()) if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential) else []
        is_stack = len({type(layer) for layer in stacked}) == 1 and any(stacked[0].children())
        layers += stacked if is_stack else repeated_layers(child)
    return layers
