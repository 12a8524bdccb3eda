"""What saves memory or time changes no number, and every kind of tower has layers to do it by."""

from __future__ import annotations

from functools import partialmethod

import pytest
import torch
from torch.distributed.tensor import DTensor

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.data.loader import Batch
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.runtime import Runtime
from clipsieve.training.scale import distribute, repeated_layers
from clipsieve.training.step import Stepper
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import Tower, build_model, load_tower

SIZE = 6
pytestmark = pytest.mark.numeric

TEXT = {"context_length": 8, "vocab_size": 600, "width": 32, "heads": 2, "layers": 2}


def stepper_of(options, runtime):
    tower = fit_tower(load_tower(options.tower), options)
    torch.manual_seed(0)
    strategy = make_strategy(options, tower, build_model(tower), runtime).train()
    trained = distribute(strategy, options, runtime)
    return Stepper(strategy, trained, make_optimizer(strategy, options), options, tower.preprocess_cfg, runtime)


def take(stepper):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (SIZE, 3, 16, 16), generator=generator, dtype=torch.uint8)
    texts = torch.randint(1, 599, (SIZE, 8), generator=generator)
    strategy = stepper.strategy
    stepper.take(Batch({view.name: images for view in strategy.views}, texts), strategy.draw_kept(range(SIZE)))


def gradients(tower_file, alone, **changes):
    stepper = stepper_of(TrainOptions(tower=tower_file, batch_size=SIZE, slip_width=16, **changes), alone)
    take(stepper)
    return {name: p.grad for name, p in stepper.strategy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("changes", [{}, {"strategy": "slip", "augment": "crop"}, {"image_mask": "random"}])
def test_activations_computed_again_are_those_of_before(tower_file, alone, changes):
    expected = gradients(tower_file, alone, **changes)
    ours = gradients(tower_file, alone, checkpoint_activations=True, **changes)
    assert ours.keys() == expected.keys() and len(ours) > 10
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_kernels_lie_as_images_do_and_change_no_gradient(alone):
    """Convolutions of a RegNet, whose kernels torch makes with the channels before the pixels."""
    options = TrainOptions(tower="regnet-tiny-64", batch_size=SIZE)
    tower = fit_tower(load_tower(options.tower), options)
    images = torch.rand(SIZE, 64, 64, 3, generator=torch.Generator().manual_seed(1)).permute(0, 3, 1, 2)
    texts = torch.randint(1, 8000, (SIZE, 16), generator=torch.Generator().manual_seed(2))
    found = []
    for change in (False, True):
        torch.manual_seed(0)
        strategy = make_strategy(options, tower, build_model(tower), alone).train()
        trained = distribute(strategy, options, alone) if change else strategy
        strategy.loss(trained({strategy.views[0].name: images}, texts, None))["loss"].backward()
        found.append({name: p.grad for name, p in strategy.named_parameters() if p.grad is not None})
    before, after = found
    kernels = [name for name, gradient in after.items() if gradient.ndim == 4 and gradient.shape[2:] == (3, 3)]
    assert len(kernels) > 10
    assert all(after[name].is_contiguous(memory_format=torch.channels_last) for name in kernels)
    differences = {name: float((after[name] - before[name]).norm() / before[name].norm()) for name in before}
    assert max(differences.values()) < 1e-5, differences


def test_compiled_layers_compute_the_same(tower_file, alone, monkeypatch):
    """Traced and differentiated as torch.compile does; its C++, which takes a minute to build, left out."""
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="aot_eager"))
    expected, ours = gradients(tower_file, alone), gradients(tower_file, alone, compile=True)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "vision, layers",
    [
        ({"width": 32, "layers": 3, "patch_size": 8, "head_width": 16}, 3),
        ({"timm_model_name": "resnet50", "timm_pool": "", "timm_proj": "linear"}, 3 + 4 + 6 + 3),
        ({"timm_model_name": "convnext_tiny", "timm_pool": "", "timm_proj": "linear"}, 4),
        ({"timm_model_name": "swin_tiny_patch4_window7_224", "timm_pool": "", "timm_proj": "linear"}, 4),
        ({"timm_model_name": "mixer_b32_224", "timm_pool": "", "timm_proj": "linear"}, 12),
    ],
)
def test_every_kind_of_tower_has_its_layers(vision, layers):
    tower = Tower("t", {"embed_dim": 16, "vision_cfg": {"image_size": 224, **vision}, "text_cfg": TEXT}, {"size": 224})
    with torch.device("meta"):
        model = build_model(tower)
    found = repeated_layers(model)
    assert len(found) == layers + TEXT["layers"]
    held = sum(parameter.numel() for layer in found for parameter in layer.parameters())
    embeddings = TEXT["vocab_size"] * TEXT["width"]
    rest = sum(parameter.numel() for parameter in model.parameters()) - held - embeddings
    assert rest < 0.2 * held + 10**5


@pytest.fixture
def one_of_fsdp(tmp_path):
    """A process group of this process alone: FSDP wraps as it does with more."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield Runtime(0, 1, torch.device("cpu"), torch.distributed.group.WORLD)
    torch.distributed.destroy_process_group()


def test_in_bf16_fsdp_computes_on_bf16_weights_and_keeps_fp32(tower_file, one_of_fsdp):
    options = TrainOptions(tower=tower_file, batch_size=SIZE, parallel="fsdp", precision="bf16")
    stepper = stepper_of(options, one_of_fsdp)
    layer, seen = stepper.strategy.model.transformer.resblocks[0].mlp.c_fc, []
    layer.register_forward_hook(lambda module, *_: seen.append((module.weight.dtype, module.bias.dtype)))
    take(stepper)
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    sharded = [p for p in stepper.strategy.parameters() if isinstance(p, DTensor)]
    assert len(sharded) > 10
    gradients = [p.grad for p in sharded if p.grad is not None]
    assert {tensor.dtype for tensor in (*sharded, *gradients)} == {torch.float32} and len(gradients) > 10


def test_micro_batches_share_their_gradients_once(tower_file, one_of_fsdp):
    """Until the last one's backward pass no share has a gradient: the whole one is summed in each process."""
    options = TrainOptions(tower=tower_file, batch_size=SIZE, parallel="fsdp", accumulate=3)
    stepper = stepper_of(options, one_of_fsdp)
    weight, shared = stepper.strategy.model.transformer.resblocks[0].mlp.c_fc.weight, []
    stepper.strategy.register_forward_hook(lambda *_: shared.append(weight.grad is not None))
    take(stepper)
    assert shared == [False] * 6
    assert isinstance(weight.grad, DTensor)
