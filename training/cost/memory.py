"""The memory that a device needs for a training run, by arithmetic over the model's tensors: nothing is allocated.

Per device, in bytes, of P parameters, b samples in a micro-batch, B in the step, embeddings of D:

- weights 4 P, gradients 4 P, AdamW 8 P; Adafactor 2 P for its momentum in bf16, and 4 (r + c) for the second moment of
  an r x c kernel (4 r c for what it does not factor);
- in bf16, another 2 P for the weights as autocast keeps them;
- with FSDP, weights, gradients and optimizer state divided by the devices of a replica; instead of autocast's copy the
  whole weights, in the run's precision, of what is in no repeated layer and of two layers, one of them fetched ahead;
  with micro-batches another 4 P, since gradients are summed whole before they are shared out;
- activations b a, where a is what autograd keeps of one sample's forward pass: its tensors are counted, by storage, as
  they are saved;
- with activation checkpointing instead b (a - sum of a_l + sum of i_l + max a_l), where layer l saves a_l and has an
  input of i_l;
- the loss: 4 matrices of b x B cosines in fp32 (both directions, each with its softmax), or of a tile where that is
  smaller (`clipsieve.training.strategies.contrast`); 2 B D gathered features, each with its gradient;
- of SLIP as much again for its views, a matrix of b x 2 B and D of its head's output; and what autograd keeps of the
  head, on all of a device's samples.

Left out: the allocator's fragments, cuDNN's and NCCL's workspaces, the CUDA context: a tenth or so more.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.scale import repeated_layers
from clipsieve.training.strategies.base import Strategy, widened
from clipsieve.training.strategies.contrast import TILE
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.strategies.slip import OUTPUT
from clipsieve.training.towers.tower import Tower, build_model

_MIN_FACTORED = 32
"""Shortest side of a kernel whose second moment Adafactor factors (`clipsieve.training.optimizers`)."""


@dataclass(frozen=True)
class Activations:
    """What autograd keeps for the backward pass, bytes."""

    kept: int
    checkpointed: int
    """With each repeated layer's input alone kept, and one layer's tensors at a time."""
    head: int
    """Of what a strategy's head makes of the features."""


@dataclass(frozen=True)
class Memory:
    """What one device holds at most, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    checkpointed: int
    """What the activations come to with activation checkpointing."""
    loss: int

    def total(self, with_checkpointing: bool) -> int:
        activations = self.checkpointed if with_checkpointing else self.activations
        return self.weights + self.gradients + self.optimizer + activations + self.loss


def run_memory(tower: Tower, options: TrainOptions, devices: int) -> Memory:
    """The memory of each of ``devices`` in a run of ``options`` on ``tower``, as the module's text counts it."""
    with torch.device("meta"):
        strategy = make_strategy(options, tower, build_model(tower), Runtime(0, 1, torch.device("cpu"), None))
    with FakeTensorMode(
        allow_non_fake_inputs=True
    ):  # unlike meta's, its tensors say that they are a CPU's: autocast works on them
        strategy.to_empty(device="cpu")
        # Not of one sample, which a head's batch norms refuse.
        two, three = (saved_by_forward(strategy, tower, samples) for samples in (2, 3))
        shapes = [tuple(parameter.shape) for parameter in strategy.parameters() if parameter.requires_grad]
        weights = _weights(strategy, options, devices)
    trained = sum(map(math.prod, shapes))
    share = _share(options, devices)
    is_summed_whole = options.parallel == "fsdp" and options.accumulate > 1
    samples = -(-options.batch_size // devices // options.accumulate)
    head = options.batch_size // devices * (three.head - two.head)
    return Memory(
        weights=weights,
        gradients=4 * trained // share + 4 * trained * is_summed_whole,
        optimizer=optimizer_bytes(shapes, options.optimizer) // share,
        activations=samples * (three.kept - two.kept),
        checkpointed=samples * (three.checkpointed - two.checkpointed),
        loss=_loss_bytes(options, int(tower.model_cfg["embed_dim"]), devices) + head,
    )


def _share(options: TrainOptions, devices: int) -> int:
    """The devices that hold one copy of the weights between them."""
    return devices // options.replicas if options.parallel == "fsdp" else 1


def _weights(strategy: Strategy, options: TrainOptions, devices: int) -> int:
    parameters, is_bf16 = _size(strategy), options.precision == "bf16"
    if options.parallel == "ddp":
        return parameters * (6 if is_bf16 else 4)
    layers = [_size(layer) for layer in repeated_layers(strategy.model)]
    whole = parameters - sum(layers) + sum(sorted(layers)[-2:])
    return 4 * parameters // _share(options, devices) + (2 if is_bf16 else 4) * whole


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _loss_bytes(options: TrainOptions, embed: int, devices: int) -> int:
    """What a loss holds at most of cosines and gathered features."""
    batch, rows = options.batch_size, options.batch_size // devices
    compared = [(rows * batch, embed)]
    if options.strategy == "slip":
        compared.append((2 * rows * batch, OUTPUT))
    return sum(4 * 4 * min(logits, TILE) + 4 * 4 * batch * width for logits, width in compared)


def optimizer_bytes(shapes: list[tuple[int, ...]], optimizer: str) -> int:
    """The state that an optimizer keeps of parameters of these shapes."""
    if optimizer == "adamw":
        return 8 * sum(map(math.prod, shapes))
    return sum(2 * math.prod(shape) + 4 * _second_moment(shape) for shape in shapes)


def saved_by_forward(strategy: Strategy, tower: Tower, samples: int) -> Activations:
    """What the forward pass of ``samples`` saves, in all. Parameters do not count; a cast of theirs does, once."""
    count = _Count(strategy)
    image = torch.zeros(samples, 3, tower.image_size, tower.image_size)
    text = torch.zeros(samples, tower.model_cfg["text_cfg"].get("context_length", 77), dtype=torch.long)
    drawn = strategy.draw_kept(range(samples))
    kept = None if drawn is None else torch.zeros_like(drawn)
    with count, strategy.autocast():
        features = strategy({view.name: image for view in strategy.views}, text, kept)
        forward = count.total
        strategy.project({name: widened(values) for name, values in features.items()})
    checkpointed = forward - count.in_layers + count.inputs + count.largest
    return Activations(forward, checkpointed, count.total - forward)


class _Count:
    """Within the block, counts the bytes that autograd saves: in all, and in each of the repeated layers."""

    def __init__(self, strategy: Strategy) -> None:
        self.total = self.in_layers = self.inputs = self.largest = 0
        self._seen = {parameter.untyped_storage() for parameter in strategy.parameters()}  # by identity
        self._layers, self._before = repeated_layers(strategy.model), 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        self._stack.enter_context(torch.autograd.graph.saved_tensors_hooks(self._save, lambda saved: saved))
        for layer in self._layers:
            for handle in (layer.register_forward_pre_hook(self._enter), layer.register_forward_hook(self._leave)):
                self._stack.callback(handle.remove)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen.add(storage)
            self.total += storage.nbytes()
        return tensor

    def _enter(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._before = self.total
        self.inputs += inputs[0].nbytes

    def _leave(self, *_: object) -> None:
        saved = self.total - self._before
        self.in_layers += saved
        self.largest = max(self.largest, saved)


def _second_moment(shape: tuple[int, ...]) -> int:
    """Numbers that Adafactor keeps of it: a row and a column for each pair of a tensor's two longest sides."""
    longest = sorted(shape)[-2:]
    if len(longest) < 2 or longest[0] < _MIN_FACTORED:
        return math.prod(shape)
    return sum(math.prod(shape) // side for side in longest)
