"""A checkpoint gives back every bit of the weights and of the optimizer's state, and says what made it."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.ledger import Ledger
from clipsieve.schemas.options import TrainOptions
from clipsieve.training import saving
from clipsieve.training.checkpoint import (
    CheckpointHeader,
    Progress,
    RunOrigin,
    drop_checkpoints,
    folder_of,
    load_checkpoint,
)
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.saving import CheckpointWriter, kept_of
from clipsieve.training.scale import distribute
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.towers.tower import build_model, load_tower

ORIGIN = RunOrigin(recipe={"samples": 120}, inputs={"shards": "ab"}, code="1234", data={"stage": "download"})
COUNTS = TrainCounts(
    pairs=4, samples_seen=12, unique_samples=4, steps=3, of_steps=10, parameters=1, image_macs=2, text_macs=3
)
LEDGER = Ledger(
    parameters=1,
    image_macs=2,
    text_macs=3,
    steps=3,
    of_steps=10,
    samples_seen=12,
    unique_samples=4,
    training_macs=15,
    training_flops=360,
    device="cpu",
    devices=1,
    device_hours=0.5,
)


@pytest.fixture(params=["adamw", "adafactor"])
def make(request, tower_file, alone):
    """A strategy and its optimizer; another seed, other weights."""

    def build(seed):
        torch.manual_seed(seed)
        options, tower = TrainOptions(optimizer=request.param, weight_decay=1e-3), load_tower(tower_file)
        strategy = make_strategy(options, tower, build_model(tower), alone)
        distribute(strategy, options, alone)
        return strategy, make_optimizer(strategy, options)

    return build


def step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
    optimizer.step()


def dtypes(optimizer):
    state = optimizer.state_dict()["state"]
    return {(index, name): tensor.dtype for index in state for name, tensor in state[index].items()}


def save(folder, trained, *progress):
    with CheckpointWriter(str(folder), 1, True) as writer:
        for each in progress:
            begin(writer, trained, each)


def begin(writer, trained, progress):
    """Begin to write a checkpoint."""
    header = CheckpointHeader(origin=ORIGIN, progress=progress, counts=COUNTS, ledger=LEDGER)
    model, optimizer = trained
    writer.save(model, optimizer, header, lambda: None)


def resume(folder, trained, origin, **options):
    model, optimizer = trained
    return load_checkpoint(str(folder), model, optimizer, origin, **options)


def names(folder):
    return sorted(path.name for path in Path(folder_of(str(folder))).iterdir())


def test_a_restored_model_goes_on_bit_by_bit(make, tmp_path):
    model, optimizer = make(0)
    for seed in range(3):
        step(model, optimizer, seed)
    with CheckpointWriter(str(tmp_path), 1, True) as writer:
        begin(writer, (model, optimizer), Progress(steps=3, loss_average=2.5, seconds=7))
        step(model, optimizer, 9)  # while it is written
    other, other_optimizer = make(1)
    progress = load_checkpoint(str(tmp_path), other, other_optimizer, ORIGIN)
    assert progress == Progress(steps=3, loss_average=2.5, seconds=7)
    assert dtypes(optimizer) == dtypes(other_optimizer)
    step(other, other_optimizer, 9)
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_last_and_the_best_are_kept_also_by_a_writer_that_comes_later(make, tmp_path):
    trained = make(0)
    losses = {1: 5.0, 2: 3.0, 3: 4.0, 4: 3.5}
    for steps, loss in losses.items():
        save(tmp_path, trained, Progress(steps=steps, loss_average=loss))
    assert names(tmp_path) == ["00000002.safetensors", "00000004.safetensors"]
    save(tmp_path, trained, Progress(steps=5, loss_average=2.0))
    assert names(tmp_path) == ["00000005.safetensors"]
    assert resume(tmp_path, make(0), ORIGIN).steps == 5
    drop_checkpoints(str(tmp_path))
    assert resume(tmp_path, make(0), ORIGIN) == Progress()
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1, max_size=8))
def test_what_is_kept_is_never_more_than_two(losses):
    saved = {str(n): Progress(steps=n, loss_average=loss) for n, loss in enumerate(losses)}
    kept = kept_of(saved)
    known = [loss for loss in losses if loss is not None]
    assert str(len(losses) - 1) in kept and len(kept) <= 2
    assert not known or min(known) in {saved[name].loss_average for name in kept}


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"recipe": {"samples": 240}}, "made with another recipe: `samples` was 120, now 240"),
        ({"inputs": {"shards": "cd"}}, "made with another inputs: `shards` was 'ab', now 'cd'"),
        ({"code": "5678"}, r"the checkpoint .* another version of the trainer \(1234, now 5678\): .* `any_code`"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(make, tmp_path, changes, complaint):
    save(tmp_path, make(0), Progress(steps=1))
    other = ORIGIN.model_copy(update=changes)
    with pytest.raises(InputError, match=f"00000001.safetensors: {complaint}"):
        resume(tmp_path, make(0), other)
    if "code" in changes:
        assert resume(tmp_path, make(0), other, any_code=True).steps == 1


def test_a_checkpoint_says_what_it_was_trained_on(make, tmp_path):
    save(tmp_path, make(0), Progress(steps=1))
    content = Path(folder_of(str(tmp_path)), "00000001.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["clipsieve"]
    assert RunOrigin(**json.loads(header)["origin"]) == ORIGIN


def test_a_checkpoint_is_copied_into_the_memory_of_the_one_before(make, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        saving, "write_tensors", lambda path, tensors, _: written.append({n: t.data_ptr() for n, t in tensors.items()})
    )
    model, optimizer = make(0)
    step(model, optimizer, 0)
    save(tmp_path, (model, optimizer), Progress(steps=1), Progress(steps=2))
    assert written[0] == written[1] and len({*written[0].values()}) == len(written[0])


def test_what_is_to_be_written_before_a_checkpoint_is(make, tmp_path):
    there = []
    model, optimizer = make(0)
    header = CheckpointHeader(origin=ORIGIN, progress=Progress(steps=1), counts=COUNTS, ledger=LEDGER)
    with CheckpointWriter(str(tmp_path), 1, True) as writer:
        writer.save(model, optimizer, header, lambda: there.append(Path(folder_of(str(tmp_path))).exists()))
    assert there == [False] and names(tmp_path) == ["00000001.safetensors"]


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda _: b"", lambda _: pickle.dumps({"steps": 1})])
def test_a_damaged_checkpoint_is_named(make, tmp_path, damage):
    model, optimizer = make(0)
    save(tmp_path, (model, optimizer), Progress(steps=1))
    path = Path(folder_of(str(tmp_path)), "00000001.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"00000001.safetensors: not a checkpoint .*; remove it to resume from"):
        load_checkpoint(str(tmp_path), model, optimizer, ORIGIN)


@pytest.fixture
def full_disk():
    """Every file of this process ends at 4,096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(make, tmp_path, full_disk):
    model, optimizer = make(0)
    save(tmp_path, (model, optimizer), Progress(steps=1))
    full_disk()
    with pytest.raises(ClipsieveError, match=r"00000002.safetensors: cannot be written: File too large"):
        save(tmp_path, (model, optimizer), Progress(steps=2), Progress(steps=3))
    assert names(tmp_path) == ["00000001.safetensors"]
    assert load_checkpoint(str(tmp_path), model, optimizer, ORIGIN).steps == 1
