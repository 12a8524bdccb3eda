"""Which weights are decayed; Adafactor against big_vision's update written out in numpy; the schedule by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions, parse_options
from clipsieve.training.optimizers import (
    clip_gradients,
    decay_groups,
    learning_rate,
    make_optimizer,
    schedule,
    set_rate,
)
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.towers.tower import build_model, load_tower

pytestmark = pytest.mark.numeric


class OneMatrix(torch.nn.Module):
    """A kernel and a bias, and what a strategy has that an optimizer asks for: the names of what is not decayed."""

    def __init__(self, shape=(40, 48)):
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernel = torch.nn.Parameter(torch.from_numpy(rng.normal(size=shape).astype(np.float32)))
        self.bias = torch.nn.Parameter(torch.from_numpy(rng.normal(size=40).astype(np.float32)))

    @property
    def model(self):
        return self

    def no_weight_decay(self):
        return set()


def optimizer_of(matrix, options):
    return make_optimizer(matrix, options)


def strategy_of(tower, alone, **options):
    return make_strategy(TrainOptions(**options), tower, build_model(tower), alone)


def names(model, parameters):
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def test_only_kernels_are_decayed(tower_file, alone):
    model = strategy_of(load_tower(tower_file), alone)
    decayed, spared = decay_groups(model, 0.2)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    layers = ["visual.transformer.resblocks.0", "transformer.resblocks.0"]
    kernels = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"]
    expected = {f"{layer}.{kernel}" for layer in layers for kernel in kernels}
    expected |= {"visual.conv1.weight", "visual.proj", "text_projection"}
    assert names(model, decayed["params"]) == {f"model.{name}" for name in expected}
    everything = {name for name, _ in model.named_parameters()}
    assert names(model, spared["params"]) == everything - names(model, decayed["params"])


@pytest.mark.parametrize("name", ["conv-tiny-64", "regnet-tiny-64"])
def test_in_a_convolutional_tower_convolutions_are_decayed_and_norms_are_not(name, alone):
    model = strategy_of(load_tower(name), alone)
    decayed, spared = (names(model, group["params"]) for group in decay_groups(model, 0.2))
    assert any("conv" in parameter for parameter in decayed)
    assert all(parameter.endswith(("weight", "text_projection")) for parameter in decayed)
    assert not any(norm in parameter for parameter in decayed for norm in ("norm", ".bn", "ln_", ".gamma"))
    assert {f"model.{name}" for name in ("token_embedding.weight", "positional_embedding", "logit_scale")} <= spared


def test_what_is_locked_is_not_trained(alone):
    strategy = strategy_of(load_tower("vit-tiny-64"), alone, lock_image=True)
    trained = set().union(*(names(strategy, group["params"]) for group in decay_groups(strategy, 0.2)))
    assert trained == {name for name, _ in strategy.named_parameters() if ".visual." not in name}


# A tall kernel and a wide one are factored along other axes; a narrow one and a convolution of few channels are not.
@pytest.mark.parametrize("shape", [(40, 48), (96, 32), (32, 96), (31, 64), (64, 3, 3, 3)])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_adafactor_is_that_of_big_vision(monkeypatch, shape, is_compiled):
    """Compiled it is traced as torch.compile does; its C++, which takes a minute to build, left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    options = TrainOptions(
        optimizer="adafactor", learning_rate=1e-2, weight_decay=1e-3, betas=(0.9, 0.7), compile=is_compiled
    )
    model = OneMatrix(shape)
    optimizer = optimizer_of(model, options)
    expected = [BigVisionAdafactor(p.detach().double().numpy().copy()) for p in (model.kernel, model.bias)]
    rng = np.random.default_rng(1)
    for step in range(1, 7):
        share = step / 6  # of the peak learning rate
        for parameter, reference, decay in ((model.kernel, expected[0], 1e-3), (model.bias, expected[1], 0.0)):
            gradient = rng.normal(size=parameter.shape) * 0.1
            parameter.grad = torch.from_numpy(gradient.astype(np.float32))
            reference.update(gradient, step, share, decay)
        set_rate(optimizer, 1e-2 * share)
        optimizer.step()
    # The momentum is kept in bfloat16: a value on the border of two may be rounded to either.
    np.testing.assert_allclose(model.kernel.detach().numpy(), expected[0].weight, atol=1e-4)
    np.testing.assert_allclose(model.bias.detach().numpy(), expected[1].weight, atol=1e-4)


class BigVisionAdafactor:
    """big_vision's chain written out: scale_by_adafactor (optax.scale_by_factored_rms), a bf16 EMA, decay, rate.

    Factored along the two largest axes where both have 32 entries; the row factor is normalised by its mean.
    """

    def __init__(self, weight):
        self.weight = weight
        axes = np.argsort(weight.shape, kind="stable")[-2:]
        self.axes = tuple(int(axis) for axis in axes) if weight.ndim > 1 and weight.shape[axes[0]] >= 32 else None
        self.moments = [np.zeros(1)] * 2
        self.momentum = torch.zeros(weight.shape, dtype=torch.bfloat16)

    def update(self, gradient, step, share, decay):
        beta = min(0.7, 1 - step**-0.8)
        square = gradient**2 + 1e-30
        if self.axes is None:
            self.moments[0] = beta * self.moments[0] + (1 - beta) * square
            update = gradient / np.sqrt(self.moments[0])
        else:
            smaller, larger = self.axes
            means = square.mean(axis=larger, keepdims=True), square.mean(axis=smaller, keepdims=True)
            self.moments = [beta * m + (1 - beta) * mean for m, mean in zip(self.moments, means, strict=True)]
            rows, columns = self.moments
            update = gradient / np.sqrt(rows / rows.mean(axis=smaller, keepdims=True)) / np.sqrt(columns)
        self.momentum.lerp_(torch.from_numpy(update).to(torch.bfloat16), 0.1)
        self.weight = self.weight * (1 - share * decay) - 1e-2 * share * self.momentum.double().numpy()


def test_another_rate_compiles_nothing_anew(monkeypatch):
    """The graphs are of the first step, which makes the state, and of the second."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    model = OneMatrix()
    options = TrainOptions(optimizer="adafactor", weight_decay=1e-3, compile=True)
    optimizer, made = optimizer_of(model, options), []
    for step in range(5):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        set_rate(optimizer, 1e-3 * step)
        optimizer.step()
        made.append(len(graphs))
    assert 0 < made[1] == made[-1]


def test_adamw_decays_by_the_learning_rate_and_spares_the_bias():
    model = OneMatrix()
    optimizer = optimizer_of(model, TrainOptions(learning_rate=1e-2, weight_decay=0.5))
    before = model.kernel.detach().clone(), model.bias.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.kernel.detach(), before[0] * (1 - 1e-2 * 0.5))
    assert torch.equal(model.bias.detach(), before[1])


def test_adamws_default_decay_is_refused_under_adafactor():
    with pytest.raises(InputError, match=r"`weight_decay` 0.2: with adafactor .* give at most 0.01"):
        optimizer_of(OneMatrix(), TrainOptions(optimizer="adafactor"))


def test_a_rate_for_256_pairs_is_scaled_to_the_batch():
    """CLIPA's H/14: 8e-6 for 256 pairs is 2.048e-3 for 65,536 and 1.024e-3 for 32,768."""
    rates = [
        TrainOptions(learning_rate=8e-6, learning_rate_batch=256, batch_size=batch).peak_learning_rate
        for batch in (65_536, 32_768)
    ]
    assert rates == pytest.approx([2.048e-3, 1.024e-3])
    assert TrainOptions(learning_rate=3e-4, batch_size=8).peak_learning_rate == 3e-4


@pytest.mark.parametrize("limit, scale", [(None, 1.0), (1e6, 1.0), (2.0, 2 / np.sqrt(1960 * 9))])
def test_gradients_are_scaled_down_to_the_limit(limit, scale):
    model = OneMatrix()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    assert clip_gradients(model, limit).item() == pytest.approx(np.sqrt(1960 * 9), rel=1e-5)
    gradient = model.bias.grad
    assert gradient is not None
    np.testing.assert_allclose(gradient.numpy(), 3.0 * scale, rtol=1e-5)


def test_a_run_of_eight_steps_by_hand():
    rates = [schedule(step, 8, 4) for step in range(8)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_the_cosine_ends_at_the_final_rate_as_slips_does():
    """SLIP's schedule: final + (peak - final) (1 + cos) / 2 after the warm-up."""
    options = TrainOptions(learning_rate=3e-3, final_learning_rate=1e-5, warmup_steps=4)
    rates = [learning_rate(options, step, 12) for step in range(13)]
    after = 1e-5 + (3e-3 - 1e-5) * 0.5 * (1 + np.cos(np.pi * np.arange(9) / 8))
    assert rates == pytest.approx([0.75e-3, 1.5e-3, 2.25e-3, 3e-3, *after])
    assert rates[-1] == pytest.approx(1e-5)
    with pytest.raises(InputError, match=r"`final_learning_rate` is above the peak of `learning_rate`: lower it"):
        parse_options(TrainOptions, {"learning_rate": 1e-3, "final_learning_rate": 2e-3}, "train")


def test_adamws_epsilon_is_the_options():
    """At the first step AdamW moves by lr g / (|g| + eps): half of it where the gradient is eps."""
    model = OneMatrix()
    optimizer = optimizer_of(model, TrainOptions(learning_rate=1e-2, weight_decay=0, adam_eps=1e-6))
    before = model.kernel.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-6)
    optimizer.step()
    torch.testing.assert_close(model.kernel.detach(), before - 0.5e-2)


@given(st.integers(1, 300), st.data())
def test_the_rate_climbs_to_its_peak_and_falls_towards_zero(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [schedule(step, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[warmup] == 1
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
