"""The arithmetic of memory against what torch itself keeps: real tensors of a small run, real optimizers' state."""

from __future__ import annotations

import pytest
import torch

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.cost.memory import optimizer_bytes, run_memory, saved_by_forward
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import build_model, load_tower


def strategy_of(options, tower, alone):
    return make_strategy(options, tower, build_model(tower), alone)


@pytest.mark.parametrize("optimizer, weight_decay", [("adamw", 0.2), ("adafactor", 1e-4)])
@pytest.mark.parametrize("name", ["vit-tiny-64", "conv-tiny-64"])
def test_an_optimizers_state_is_as_large_as_said(alone, name, optimizer, weight_decay):
    options = TrainOptions(tower=name, optimizer=optimizer, weight_decay=weight_decay)
    strategy = strategy_of(options, load_tower(name), alone)
    for parameter in strategy.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    made = make_optimizer(strategy, options)
    made.step()
    state = [t for kept in made.state.values() for t in kept.values() if torch.is_tensor(t) and t.ndim]
    said = optimizer_bytes([tuple(p.shape) for p in strategy.parameters()], optimizer)
    assert sum(t.nbytes for t in state) == pytest.approx(said, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"strategy": "slip", "augment": "crop"}])
def test_no_tensor_is_needed_to_count_what_real_ones_keep(alone, tower_file, options):
    options = TrainOptions(tower=tower_file, batch_size=8, **options)
    tower = load_tower(tower_file)
    real = strategy_of(options, tower, alone)
    two, one = (saved_by_forward(real, tower, options, samples) for samples in (2, 1))
    memory = run_memory(tower, options, devices=2)
    assert memory.activations == pytest.approx(4 * (two.kept - one.kept), rel=0.01)
    assert memory.checkpointed == pytest.approx(4 * (two.checkpointed - one.checkpointed), rel=0.01)
    assert memory.checkpointed < memory.activations


def test_a_transformers_layer_keeps_what_its_operations_need():
    """In fp32, of a token of width w: both norms' inputs, the four products' (two of them the norms' outputs, which
    are kept once), q, k and v, and the GELU's, 4 w: 1 + 1 + (1 + 1 + 1 + 4) + 3 + 4 = 16 w, and a few numbers."""
    layers, tokens, width = 4, 1 + 64, 128
    tower, options = load_tower("vit-tiny-64"), TrainOptions(batch_size=8)
    text_layers, text_tokens = 3, 32
    by_hand = 4 * 16 * width * (layers * tokens + text_layers * text_tokens)
    assert run_memory(tower, options, 8).activations == pytest.approx(by_hand, rel=0.1)


def test_devices_share_the_batch_and_with_fsdp_the_state(tower_file):
    tower, options = load_tower(tower_file), TrainOptions(tower=tower_file, batch_size=64)
    one, four = run_memory(tower, options, 1), run_memory(tower, options, 4)
    assert one.activations == 4 * four.activations
    assert (one.weights, one.gradients, one.optimizer) == (four.weights, four.gradients, four.optimizer)
    sharded = run_memory(tower, options.model_copy(update={"parallel": "fsdp"}), 4)
    assert sharded.optimizer == one.optimizer // 4 and sharded.weights == one.weights // 4
    parts = run_memory(tower, options.model_copy(update={"accumulate": 4}), 1)
    assert parts.activations == four.activations and parts.loss == one.loss


def test_a_mask_and_a_lock_save_what_they_leave_out():
    tower = load_tower("vit-tiny-64")
    whole = run_memory(tower, TrainOptions(), 1)
    half = run_memory(tower, TrainOptions(image_mask="random"), 1)
    locked = run_memory(tower, TrainOptions(lock_image=True), 1)
    assert 0.5 < half.activations / whole.activations < 0.75
    assert locked.gradients < whole.gradients and locked.weights == whole.weights
    assert locked.activations < whole.activations / 2


def test_every_size_of_image_is_counted_as_it_is():
    small, large = (
        run_memory(fit_tower(load_tower("vit-tiny-64"), TrainOptions(image_size=side)), TrainOptions(), 1)
        for side in (32, 64)
    )
    assert 2 < large.activations / small.activations < 4
