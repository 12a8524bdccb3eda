"""Image masks by hand, that a sample's mask is its place's alone, and that masked patches are really dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.strategies.masks import PatchMask, draw_kept
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.towers.tower import build_model, load_tower

GRID = (6, 8)


def kept_of(mask, ratio=0.5, positions=range(200), grid=GRID, seed=0):
    return draw_kept(TrainOptions(image_mask=mask, image_mask_ratio=ratio, seed=seed), positions, grid)


@settings(max_examples=40)
@given(st.sampled_from(["random", "grid", "block"]), st.integers(0, 10**12), st.integers(1, 20), st.integers(1, 20))
def test_a_mask_is_a_function_of_the_place_in_the_stream(mask, start, first, second):
    whole = kept_of(mask, positions=range(start, start + first + second))
    parts = [
        kept_of(mask, positions=range(start, start + first)),
        kept_of(mask, positions=range(start + first, start + first + second)),
    ]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("mask", ["random", "grid", "block"])
def test_seeds_and_samples_have_other_masks(mask):
    kept = kept_of(mask)
    assert len({row.tobytes() for row in kept}) > 5
    assert not np.array_equal(kept, kept_of(mask, seed=1))


@pytest.mark.parametrize("ratio, patches", [(0.5, 24), (0.3, 33), (0.75, 12), (0.999, 1)])
def test_a_random_mask_keeps_its_share_of_the_patches_and_favours_none(ratio, patches):
    kept = kept_of("random", ratio, range(4000))
    assert kept.shape == (4000, patches) and kept.dtype == np.int64
    assert (np.diff(kept, axis=1) > 0).all()  # no patch twice, in the image's order
    seen = np.bincount(kept.reshape(-1), minlength=48) / 4000
    assert np.abs(seen - patches / 48).max() < 5 * np.sqrt(0.25 / 4000)


def test_a_grid_mask_keeps_one_patch_of_each_2_by_2():
    """CLIPA's definition in numpy: cut the image of patch numbers into cells and look for one kept in each."""
    numbers = np.arange(48).reshape(GRID)
    cells = numbers.reshape(3, 2, 4, 2).transpose(0, 2, 1, 3).reshape(12, 4)
    kept = kept_of("grid", positions=range(2000))
    held = np.isin(np.arange(48), kept[:1])[cells]
    assert kept.shape == (2000, 12) and (held.sum(axis=1) == 1).all()
    for row in kept[:50]:
        assert (np.isin(cells, row).sum(axis=1) == 1).all()
    seen = np.bincount(kept.reshape(-1), minlength=48) / 2000
    assert np.abs(seen - 0.25).max() < 5 * np.sqrt(0.1875 / 2000)


@pytest.mark.parametrize("ratio, side", [(0.75, 3), (0.5, 5), (0.0001, 6), (0.99, 1)])
def test_a_block_mask_keeps_one_square(ratio, side):
    numbers = np.arange(48).reshape(GRID)
    squares = {
        numbers[top : top + side, left : left + side].tobytes()
        for top in range(6 - side + 1)
        for left in range(8 - side + 1)
    }
    kept = kept_of("block", ratio, range(1000))
    assert kept.shape == (1000, side * side)
    assert {row.tobytes() for row in kept} == squares  # each of them, and nothing else


def test_without_a_mask_or_a_ratio_every_patch_is_kept():
    assert kept_of("none") is None and kept_of("random", 0.0) is None and kept_of("block", 0.0) is None


def test_the_patch_mask_gathers_as_numpy_does():
    tokens = np.random.default_rng(0).normal(size=(5, 1 + 48, 3)).astype(np.float32)
    kept = kept_of("random", 0.5, range(5))
    mask = PatchMask()
    with mask.keep(torch.from_numpy(kept)):
        ours = mask(torch.from_numpy(tokens)).numpy()
    theirs = np.stack([np.concatenate([row[:1], row[1:][index]]) for row, index in zip(tokens, kept, strict=True)])
    assert np.array_equal(ours, theirs)
    assert np.array_equal(mask(torch.from_numpy(tokens)).numpy(), tokens)  # again whole


def test_masked_patches_neither_count_nor_cost(alone):
    tower = load_tower("vit-tiny-64")
    options = TrainOptions(image_mask="random", image_mask_ratio=0.75)
    torch.manual_seed(0)
    strategy = make_strategy(options, tower, build_model(tower), alone)
    images, texts = torch.randn(3, 3, 64, 64), torch.randint(1, 100, (3, 32))
    kept = strategy.draw_kept(range(3))
    assert kept is not None and kept.shape == (3, 16)

    def features(pixels, patches):
        return strategy({"image": pixels}, texts, patches)["image"]

    def macs(patches):
        with FlopCounterMode(display=False) as counter:
            features(images, patches)
        return counter.get_total_flops()

    def noise_on(numbers):
        changed = images.clone()
        for image, patches in zip(changed, numbers, strict=True):
            for patch in patches.tolist():
                row, column = divmod(patch, 8)
                image[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 9.0
        return changed

    masked = torch.stack([torch.tensor(sorted(set(range(64)) - set(row.tolist()))) for row in kept])
    assert torch.equal(features(noise_on(masked), kept), features(images, kept))
    assert not torch.allclose(features(noise_on(kept[:, :1]), kept), features(images, kept))
    everything = torch.arange(64).expand(3, -1)
    torch.testing.assert_close(features(images, everything), features(images, None))
    # A quarter of 64 patches and the class token; text and the patches' embedding cost the same.
    assert macs(kept) < 0.62 * macs(None)


@pytest.mark.parametrize(
    "tower, mask, complaint",
    [
        ("conv-tiny-64", "random", "is a convnext_atto, whose layers need the whole grid"),
        ("regnet-tiny-64", "block", "is a regnetx_002, whose layers need the whole grid"),
    ],
)
def test_a_tower_that_cannot_drop_patches_is_refused(tower, mask, complaint, alone):
    loaded = load_tower(tower)
    with pytest.raises(InputError, match=complaint):
        make_strategy(TrainOptions(tower=tower, image_mask=mask), loaded, build_model(loaded), alone)
