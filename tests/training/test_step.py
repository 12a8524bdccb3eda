"""A step in micro-batches is the step at once, and its second passes repeat the first."""

from __future__ import annotations

import pytest
import torch

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.data.loader import Batch
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.step import Stepper
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import build_model, load_tower
from tests.training.precision import default_dtype

SIZE = 12

pytestmark = pytest.mark.numeric


def stepper_of(tower_file, alone, **options):
    chosen = TrainOptions(tower=tower_file, slip_width=16, batch_size=SIZE, **options)
    tower = fit_tower(load_tower(tower_file), chosen)
    torch.manual_seed(0)
    strategy = make_strategy(chosen, tower, build_model(tower), alone).train()
    return Stepper(strategy, strategy, make_optimizer(strategy, chosen), chosen, tower.preprocess_cfg, alone)


def batch_of(strategy):
    generator = torch.Generator().manual_seed(1)
    shape = (SIZE, 3, 16, 16)
    images = {v.name: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for v in strategy.views}
    return Batch(images, torch.randint(1, 599, (SIZE, 8), generator=generator))


def gradients(stepper):
    torch.manual_seed(3)
    result = stepper.take(batch_of(stepper.strategy), stepper.strategy.draw_kept(range(24, 24 + SIZE)))
    return result, {name: p.grad for name, p in stepper.strategy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("accumulate", [3, 5, 12])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "siglip"},
        {"strategy": "slip", "augment": "crop"},
        {"image_mask": "random"},
        {"lock_image": True},
    ],
)
def test_a_step_in_parts_is_the_step_at_once(tower_file, alone, accumulate, options):
    """In float64, where another order of the sums leaves 1e-14 even after SLIP's steep batch norms."""
    with default_dtype(torch.float64):
        at_once, expected = gradients(stepper_of(tower_file, alone, **options))
        in_parts, ours = gradients(stepper_of(tower_file, alone, accumulate=accumulate, **options))
    assert ours.keys() == expected.keys() and len(ours) > 10
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-12, rtol=0, msg=name)
    assert in_parts.losses.keys() == at_once.losses.keys()
    for name, loss in at_once.losses.items():
        torch.testing.assert_close(in_parts.losses[name], loss, atol=0, rtol=1e-12)
    torch.testing.assert_close(in_parts.grad_norm, at_once.grad_norm, atol=0, rtol=1e-12)


def test_the_second_pass_of_a_part_drops_what_its_first_dropped(tower_file, alone):
    stepper = stepper_of(tower_file, alone, accumulate=3)
    layer = stepper.strategy.model.transformer.resblocks[0].mlp
    layer.register_module("gelu", torch.nn.Sequential(layer.gelu, torch.nn.Dropout(0.5)))
    seen = []
    stepper.strategy.register_forward_hook(lambda *call: seen.append(call[-1]["text"].detach().clone()))
    gradients(stepper)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_bf16_computes_near_fp32_and_keeps_its_weights_in_fp32(tower_file, alone, accumulate):
    exact, _ = gradients(stepper_of(tower_file, alone))
    stepper = stepper_of(tower_file, alone, precision="bf16", accumulate=accumulate)
    rounded, _ = gradients(stepper)
    assert rounded.losses["loss"].item() == pytest.approx(exact.losses["loss"].item(), rel=0.02)
    assert rounded.losses["loss"] != exact.losses["loss"]
    assert {p.dtype for p in stepper.strategy.parameters()} == {torch.float32}
