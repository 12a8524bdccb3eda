"""Which weights are decayed, and Adafactor against big_vision's update written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from schemas.errors import InputError
from schemas.recipe import TrainOptions
from training.optimizers import clip_gradients, decay_groups, make_optimizer
from training.towers import build_model, load_tower


class OneMatrix(torch.nn.Module):
    """A kernel of 40 x 48 and a bias, with the method by which open_clip names what is not decayed."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernel = torch.nn.Parameter(torch.from_numpy(rng.normal(size=(40, 48)).astype(np.float32)))
        self.bias = torch.nn.Parameter(torch.from_numpy(rng.normal(size=40).astype(np.float32)))

    def no_weight_decay(self):
        return set()


def names(model, parameters):
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def test_only_kernels_are_decayed(tower_file):
    model = build_model(load_tower(tower_file))
    decayed, spared = decay_groups(model, 0.2)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    layers = ["visual.transformer.resblocks.0", "transformer.resblocks.0"]
    kernels = ["attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"]
    expected = {f"{layer}.{kernel}" for layer in layers for kernel in kernels}
    assert names(model, decayed["params"]) == expected | {
        "visual.conv1.weight",
        "visual.proj",
        "text_projection",
    }
    everything = {name for name, _ in model.named_parameters()}
    assert names(model, spared["params"]) == everything - names(model, decayed["params"])


@pytest.mark.parametrize("name", ["conv-tiny-64", "regnet-tiny-64"])
def test_in_a_convolutional_tower_convolutions_are_decayed_and_norms_are_not(name):
    model = build_model(load_tower(name))
    decayed, spared = (names(model, group["params"]) for group in decay_groups(model, 0.2))
    assert any("conv" in parameter for parameter in decayed)
    assert all(parameter.endswith(("weight", "text_projection")) for parameter in decayed)
    assert not any(norm in parameter for parameter in decayed for norm in ("norm", ".bn", "ln_", ".gamma"))
    assert {"token_embedding.weight", "positional_embedding", "logit_scale"} <= spared


def test_adafactor_is_that_of_big_vision():
    options = TrainOptions(optimizer="adafactor", learning_rate=1e-2, weight_decay=1e-3, betas=(0.9, 0.7))
    model = OneMatrix()
    optimizer = make_optimizer(model, options)
    kernel, bias = (p.detach().numpy().astype(np.float64) for p in (model.kernel, model.bias))
    rows, columns, second = np.zeros(40), np.zeros(48), np.zeros(40)
    moments = [torch.zeros(40, 48, dtype=torch.bfloat16), torch.zeros(40, dtype=torch.bfloat16)]
    rng = np.random.default_rng(1)
    for step in range(1, 7):
        share = step / 6  # of the peak learning rate
        gradients = [rng.normal(size=shape) * 0.1 for shape in ((40, 48), (40,))]
        for parameter, gradient in zip((model.kernel, model.bias), gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.astype(np.float32))
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * share
        optimizer.step()

        decay = min(0.7, 1 - step**-0.8)
        squares = [gradient**2 + 1e-30 for gradient in gradients]
        rows = decay * rows + (1 - decay) * squares[0].mean(axis=1)
        columns = decay * columns + (1 - decay) * squares[0].mean(axis=0)
        second = decay * second + (1 - decay) * squares[1]
        updates = [
            gradients[0] / np.sqrt(rows / rows.mean())[:, None] / np.sqrt(columns)[None, :],
            gradients[1] / np.sqrt(second),
        ]
        for moment, update in zip(moments, updates, strict=True):
            moment.lerp_(torch.from_numpy(update).to(torch.bfloat16), 0.1)
        kernel = kernel * (1 - share * 1e-3) - 1e-2 * share * moments[0].double().numpy()
        bias = bias - 1e-2 * share * moments[1].double().numpy()
    # The momentum is kept in bfloat16: a value on the border of two may be rounded to either.
    np.testing.assert_allclose(model.kernel.detach().numpy(), kernel, atol=1e-4)
    np.testing.assert_allclose(model.bias.detach().numpy(), bias, atol=1e-4)


def test_adamw_decays_by_the_learning_rate_and_spares_the_bias():
    model = OneMatrix()
    optimizer = make_optimizer(model, TrainOptions(learning_rate=1e-2, weight_decay=0.5))
    before = model.kernel.detach().clone(), model.bias.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.kernel.detach(), before[0] * (1 - 1e-2 * 0.5))
    assert torch.equal(model.bias.detach(), before[1])


def test_adamws_default_decay_is_refused_under_adafactor():
    with pytest.raises(InputError, match=r"weight_decay 0.2: with adafactor .* give at most 0.01"):
        make_optimizer(OneMatrix(), TrainOptions(optimizer="adafactor"))


@pytest.mark.parametrize("limit, scale", [(None, 1.0), (1e6, 1.0), (2.0, 2 / np.sqrt(1960 * 9))])
def test_gradients_are_scaled_down_to_the_limit(limit, scale):
    model = OneMatrix()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    assert clip_gradients(model, limit).item() == pytest.approx(np.sqrt(1960 * 9), rel=1e-5)
    gradient = model.bias.grad
    assert gradient is not None
    np.testing.assert_allclose(gradient.numpy(), 3.0 * scale, rtol=1e-5)
