"""The arithmetic of memory against what torch itself keeps: real tensors of a small run, real optimizers' state."""

from __future__ import annotations

import pytest
import torch

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.cost.memory import optimizer_bytes, run_memory, saved_by_forward
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.scale import repeated_layers
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
    three, two = (saved_by_forward(real, tower, samples) for samples in (3, 2))
    memory = run_memory(tower, options, devices=2)
    assert memory.activations == pytest.approx(4 * (three.kept - two.kept), rel=0.01)
    assert memory.checkpointed == pytest.approx(4 * (three.checkpointed - two.checkpointed), rel=0.01)
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
    assert sharded.optimizer == one.optimizer // 4 and sharded.gradients == one.gradients // 4
    parts = run_memory(tower, options.model_copy(update={"accumulate": 4}), 1)
    assert parts.activations == four.activations and parts.loss == one.loss


def test_fsdp_holds_its_share_and_two_layers_whole_in_the_runs_precision(alone):
    tower = load_tower("vit-tiny-64")
    model = build_model(tower)
    sizes = sorted(sum(p.numel() for p in layer.parameters()) for layer in repeated_layers(model))
    parameters = sum(p.numel() for p in model.parameters())
    whole = parameters - sum(sizes) + sum(sizes[-2:])
    for precision, width in (("fp32", 4), ("bf16", 2)):
        options = TrainOptions(parallel="fsdp", precision=precision, accumulate=2)
        memory, replicated = (
            run_memory(tower, options.model_copy(update={"replicas": replicas}), 8) for replicas in (1, 4)
        )
        assert memory.weights == 4 * parameters // 8 + width * whole
        assert replicated.weights == 4 * parameters // 2 + width * whole
        assert replicated.optimizer == 4 * memory.optimizer
        assert memory.gradients == 4 * parameters // 8 + 4 * parameters  # the sum of two micro-batches


def test_a_losss_matrices_are_no_larger_than_a_tile():
    """Four matrices of 2^24 cosines, and the features of all with their gradients, twice: image and text."""
    tower = load_tower("vit-tiny-64")
    embed = tower.model_cfg["embed_dim"]
    for batch in (1 << 14, 1 << 17):
        assert run_memory(tower, TrainOptions(batch_size=batch), 4).loss == 16 * (1 << 24) + 16 * batch * embed
    assert run_memory(tower, TrainOptions(batch_size=256), 4).loss == 16 * 64 * 256 + 16 * 256 * embed


def test_slips_loss_holds_what_its_head_keeps(tower_file):
    """Of a sample in fp32, in each view: the inputs of three products, two norms and two ReLUs (which are a product's
    inputs too), and its output before and after it is normalised."""
    tower, batch, hidden, output = load_tower(tower_file), 64, 512, 256
    options = TrainOptions(batch_size=batch, strategy="slip", augment="crop", slip_width=hidden)
    clip, slip = run_memory(tower, options.model_copy(update={"strategy": "clip"}), 1), run_memory(tower, options, 1)
    by_hand = 2 * 4 * batch * (32 + 2 * 2 * hidden + output)
    compared = 16 * 2 * batch * batch + 16 * batch * output
    assert slip.loss - clip.loss - compared == pytest.approx(by_hand, rel=0.1)


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
