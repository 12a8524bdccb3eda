"""Tiled losses against open_clip's, values and gradients, and the memory that they take."""

from __future__ import annotations

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipsieve.training.strategies import contrast
from clipsieve.training.strategies.contrast import sigmoid_loss, softmax_loss
from clipsieve.training.strategies.slip import simclr_loss

ROWS, WIDTH = 8, 6
WHOLE = contrast.TILE

pytestmark = pytest.mark.numeric


def clip(image, text, scale, _, first, images, texts):
    return (softmax_loss(scale * image, texts, first) + softmax_loss(scale * text, images, first)) / 2


def siglip(image, text, scale, bias, first, images, texts):
    return sigmoid_loss(scale * image, texts, first, bias)


def simclr(image, text, scale, _, first, images, texts):
    return simclr_loss(scale * image, scale * text, scale * images, scale * texts, first // len(image))


def of_open_clip(loss):
    theirs = ClipLoss() if loss is clip else SigLipLoss()
    return lambda image, text, scale, bias: theirs(image, text, scale, bias if loss is siglip else None)


def leaves(rows=ROWS):
    """Images, texts, a scale and a bias in float64."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(rows, WIDTH, dtype=torch.float64, generator=generator) for _ in range(2)]
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (3.0, -2.0)]
    return [leaf.requires_grad_() for leaf in (*(torch.nn.functional.normalize(side) for side in sides), *scalars)]


def by(loss, processes):
    """The mean of the losses that so many processes compute, each of its rows."""

    def mean(image, text, scale, bias):
        size = len(image) // processes
        starts = range(0, len(image), size)
        rows = [(image[start : start + size], text[start : start + size], start) for start in starts]
        parts = [loss(own, ours, scale, bias, start, image, text) for own, ours, start in rows]
        return torch.stack(parts).mean()

    return mean


def value_and_gradients(function):
    given = leaves()
    value = function(*given)
    return value, torch.autograd.grad(value, given, materialize_grads=True)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("tile", [WHOLE, 24, 1])
@pytest.mark.parametrize("loss", [clip, siglip])
def test_tiles_and_processes_come_to_open_clips_loss(monkeypatch, loss, tile, processes):
    monkeypatch.setattr(contrast, "TILE", tile)
    ours, theirs = value_and_gradients(by(loss, processes)), value_and_gradients(of_open_clip(loss))
    torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=1e-13)


def test_one_tile_in_one_process_is_open_clips_loss_bit_for_bit():
    for loss in (clip, siglip):
        (ours, gradients), (theirs, expected) = (
            value_and_gradients(function) for function in (by(loss, 1), of_open_clip(loss))
        )
        assert ours.equal(theirs) and all(map(torch.equal, gradients, expected))


# Of 8 keys in tiles of 7, the last tile holds one key, and for one query nothing but its own.
@pytest.mark.parametrize("tile", [24, 7 * ROWS, 1])
@pytest.mark.parametrize("processes", [1, 2])
def test_simclrs_loss_is_the_same_in_tiles(monkeypatch, tile, processes):
    whole = value_and_gradients(by(simclr, 1))
    monkeypatch.setattr(contrast, "TILE", tile)
    torch.testing.assert_close(value_and_gradients(by(simclr, processes)), whole, atol=1e-13, rtol=1e-13)


class Largest(TorchDispatchMode):
    """Within the block: ``numel``, of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(leaf.numel() for leaf in tree_leaves(made) if torch.is_tensor(leaf))])
        return made


@pytest.mark.parametrize("loss", [clip, siglip, simclr])
def test_memory_grows_with_rows_plus_columns_alone(monkeypatch, loss):
    """256 rows against 4,096: kept is less than half of one matrix of logits, no tensor is larger than a tile."""
    rows, columns = 256, 4096
    monkeypatch.setattr(contrast, "TILE", 1 << 16)
    image, text, scale, bias = leaves(columns)
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), Largest() as largest:
        loss(image[:rows], text[:rows], scale, bias, 0, image, text).backward()
    assert sum(kept.values()) < rows * columns * image.itemsize / 2
    assert largest.numel <= contrast.TILE
