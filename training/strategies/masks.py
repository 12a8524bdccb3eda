"""Image masks: which patches of an image a ViT trains on (FLIP's random mask; CLIPA's random, grid and block masks).

A mask is drawn from one stream of random numbers that a sample's place in the run's stream of samples is an index
into, so neither processes nor micro-batches nor a resumed run change it. Masked patches are dropped before the first
layer: the tower computes on those that are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from open_clip.transformer import VisionTransformer

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.towers.tower import ClipModel, Tower

_DRAWS_PER_COUNT = 4
"""Philox gives four numbers at each count of its counter."""


class PatchMask(torch.nn.Module):
    """Stands in a ViT where open_clip's patch dropout does: after the position embeddings, before the layers."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: torch.Tensor | None = None

    @contextmanager
    def keep(self, kept: torch.Tensor | None) -> Iterator[None]:
        """Within the block, a forward pass sees of each image the patches int64[B, K]; all where ``kept`` is None."""
        self._kept = kept
        try:
            yield
        finally:
            self._kept = None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, 1 + N, D], the class token first -> [B, 1 + K, D]."""
        if self._kept is None:
            return tokens
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        return tokens[rows, torch.nn.functional.pad(self._kept + 1, (1, 0))]


def install_mask(model: ClipModel, tower: Tower, options: TrainOptions) -> tuple[PatchMask, tuple[int, int]]:
    """Put a `PatchMask` into the image tower; returns it with the tower's grid of patches, (rows, columns).

    Raises InputError for a tower that cannot drop patches, and for a grid that the mask does not fit.
    """
    visual = model.visual
    if not isinstance(visual, VisionTransformer):
        kind = tower.model_cfg["vision_cfg"].get("timm_model_name", type(visual).__name__)
        raise InputError(
            f"`image_mask` {options.image_mask}: tower {tower.name!r} is a {kind}, whose layers need the whole grid of "
            "patches; take a ViT tower, or `image_mask` none"
        )
    rows, columns = visual.grid_size
    if options.image_mask == "grid" and (rows % 2 or columns % 2):
        raise InputError(
            f"`image_mask` grid: tower {tower.name!r} has {rows} x {columns} patches, which do not divide into cells "
            "of 2 x 2; take another `image_size` or mask"
        )
    visual.patch_dropout = PatchMask()
    return visual.patch_dropout, (rows, columns)


def draw_kept(options: TrainOptions, positions: range, grid: tuple[int, int]) -> np.ndarray | None:
    """int64[len(positions), K]: which patches are kept of each sample, ascending; None: all of them.

    A patch is known by its number, row by row. K is the whole part of N (1 - ratio), at least 1, for a random mask
    (FLIP, section 3; open_clip's patch dropout); N / 4 for a grid mask, one of each 2 x 2 cell; for a block mask the
    square nearest to N (1 - ratio) patches (CLIPA, section 3.1).
    """
    rows, columns = grid
    ratio = options.image_mask_ratio
    if options.image_mask == "none" or (options.image_mask != "grid" and ratio == 0):
        return None
    if options.image_mask == "random":
        draws = _uniform(options.seed, positions, rows * columns)
        kept = max(1, int(rows * columns * (1 - ratio)))
        # The patches of the `kept` least draws, which np.argsort(draws)[:, :kept] would give too.
        return np.sort(np.argpartition(draws, kept - 1, axis=1)[:, :kept], axis=1)
    if options.image_mask == "grid":
        return _one_of_each_cell(_uniform(options.seed, positions, rows * columns // 4), columns)
    side = max(1, min(rows, columns, round(math.sqrt(rows * columns * (1 - ratio)))))
    return _block(_uniform(options.seed, positions, 2), side, grid)


def _uniform(seed: int, positions: range, count: int) -> np.ndarray:
    """float64[len(positions), count] in [0, 1): the rows ``positions`` of one endless table of random numbers."""
    # A row takes whole counts of the counter, so that it can be reached without drawing those before it.
    width = -(-count // _DRAWS_PER_COUNT) * _DRAWS_PER_COUNT
    stream = np.random.Philox(np.random.SeedSequence(seed)).advance(positions.start * width // _DRAWS_PER_COUNT)
    return np.random.Generator(stream).random((len(positions), width))[:, :count]


def _one_of_each_cell(draws: np.ndarray, columns: int) -> np.ndarray:
    # Cells are numbered row by row; a cell is 2 x 2 patches, its corners 0 1 above 2 3.
    cells = np.arange(draws.shape[1])
    row, column = cells // (columns // 2) * 2, cells % (columns // 2) * 2
    corner = np.floor(draws * 4).astype(np.int64)
    return np.sort((row + corner // 2) * columns + column + corner % 2, axis=1)


def _block(draws: np.ndarray, side: int, grid: tuple[int, int]) -> np.ndarray:
    rows, columns = grid
    top = np.floor(draws[:, 0] * (rows - side + 1)).astype(np.int64)
    left = np.floor(draws[:, 1] * (columns - side + 1)).astype(np.int64)
    # The numbers of the patches of a block in the upper left corner: np.add.outer(arange * columns, arange).ravel().
    within = (np.arange(side)[:, None] * columns + np.arange(side)).reshape(-1)
    return (top * columns + left)[:, None] + within
