"""A checkpoint gives back every bit of the weights and of the optimizer's state."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from schemas.errors import InputError
from schemas.recipe import TrainOptions
from training.checkpoint import checkpoint_path, drop_checkpoint, load_checkpoint, save_checkpoint
from training.optimizers import make_optimizer
from training.towers import build_model, load_tower


@pytest.fixture(params=["adamw", "adafactor"])
def make(request, tower_file):
    """A model and its optimizer; another seed, other weights."""

    def build(seed):
        torch.manual_seed(seed)
        model = build_model(load_tower(tower_file))
        return model, make_optimizer(model, TrainOptions(optimizer=request.param, weight_decay=1e-3))

    return build


def step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def dtypes(optimizer):
    state = optimizer.state_dict()["state"]
    return {(index, name): tensor.dtype for index in state for name, tensor in state[index].items()}


def test_a_restored_model_goes_on_bit_by_bit(make, tmp_path):
    model, optimizer = make(0)
    for seed in range(3):
        step(model, optimizer, seed)
    save_checkpoint(str(tmp_path), model, optimizer, 3)
    other, other_optimizer = make(1)
    assert load_checkpoint(str(tmp_path), other, other_optimizer) == 3
    assert dtypes(optimizer) == dtypes(other_optimizer)
    for trained in ((model, optimizer), (other, other_optimizer)):
        step(*trained, seed=9)
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_last_checkpoint_replaces_the_one_before_and_can_be_dropped(make, tmp_path):
    model, optimizer = make(0)
    for steps in (1, 2):
        step(model, optimizer, steps)
        save_checkpoint(str(tmp_path), model, optimizer, steps)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["checkpoint.safetensors"]
    assert load_checkpoint(str(tmp_path), *make(0)) == 2
    drop_checkpoint(str(tmp_path))
    assert load_checkpoint(str(tmp_path), *make(0)) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda _: b"", lambda _: pickle.dumps({"steps": 1})])
def test_a_damaged_checkpoint_is_named(make, tmp_path, damage):
    model, optimizer = make(0)
    save_checkpoint(str(tmp_path), model, optimizer, 1)
    path = Path(checkpoint_path(str(tmp_path)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoint.safetensors: not a checkpoint .*; remove it to start"):
        load_checkpoint(str(tmp_path), model, optimizer)
