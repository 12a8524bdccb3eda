"""How well a model tells an image's own caption from another's: what a reference for scoring must do well.

The similarity of every pair is set against those of the same image with swapped captions. The AUC of the two is the
chance that a true pair scores above a swapped one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from clipsieve.evaluation.features.embeddings import embed_images, embed_texts
from clipsieve.evaluation.statistics.auc import paired_auc
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import TASK_FORMATS, decode_image
from clipsieve.schemas.models import LoadedModel, load_model
from clipsieve.schemas.tables import open_parquet

BATCH_SIZE = 128
SWAPS = 8
"""Swapped captions that each image meets: with one, chance alone moves the AUC of 3,000 pairs by 0.005."""
CAPTION_COLUMNS = ("caption", "title")


@dataclass(frozen=True)
class Separation:
    """AUC of true against swapped captions, and its 95% interval over the groups of near-duplicates."""

    auc: float
    low: float
    high: float
    pairs: int
    groups: int


def separation_auc(
    model: LoadedModel, images: Sequence[bytes], captions: Sequence[str], groups: Sequence[str], seed: int = 0
) -> Separation:
    """AUC over encoded images[N] with captions[N]; groups[N] names each pair's group of near-duplicates.

    The interval is a bootstrap over groups, so that near-duplicates are not counted as independent.
    """
    if not len(images) == len(captions) == len(groups):
        raise ValueError(f"expected as many images ({len(images)}) as captions ({len(captions)}) and groups")
    swapped = [swap_captions(captions, seed + number) for number in range(SWAPS)]
    named = ((f"image {row}", data) for row, data in enumerate(images))
    image_embeddings = embed_images(model, named, BATCH_SIZE, partial(pixels_over_white, model)).unit
    text_embeddings = embed_texts(model, captions, BATCH_SIZE)
    true = (image_embeddings * text_embeddings).sum(axis=1)
    false = [(image_embeddings * text_embeddings[rows]).sum(axis=1) for rows in swapped]
    estimate = paired_auc(np.tile(true, SWAPS), np.concatenate(false), list(groups) * SWAPS, seed)
    return Separation(estimate.value, estimate.low, estimate.high, len(captions), len(set(groups)))


def pixels_over_white(model: LoadedModel, image: tuple[str, bytes]) -> torch.Tensor:
    """What is transparent in the image over white, as img2dataset stores such images and a reference sees them."""
    where, data = image
    opened = decode_image(data, where, TASK_FORMATS)
    if opened.has_transparency_data:
        rgba = opened.convert("RGBA")
        opened = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return model.preprocess(opened.convert("RGB"))


def swap_captions(captions: Sequence[str], seed: int) -> np.ndarray:
    """A permutation int64[N] that gives every row a caption of another text than its own.

    The captions are laid in a circle, in random order but equal texts side by side, and each row takes the
    caption as many places on as the commonest text has copies. Raises InputError when that text is more than
    half of all.
    """
    if not captions:
        raise InputError("no captions to swap")
    copies = Counter(captions)
    text, most = copies.most_common(1)[0]
    if 2 * most > len(captions):
        raise InputError(f"captions: {most} of {len(captions)} are {text!r}, too many to swap each for another")
    generator = np.random.default_rng(seed)
    place_of = dict(zip(copies, generator.permutation(len(copies)), strict=True))
    shuffled = generator.permutation(len(captions))
    circle = shuffled[np.argsort([place_of[captions[row]] for row in shuffled], kind="stable")]
    swapped = np.empty(len(captions), np.int64)
    swapped[circle] = np.roll(circle, -most)
    return swapped


def main() -> None:
    """``python -m clipsieve.evaluation.separation --model FOLDER --pairs FILE``: the AUC on encoded images in Parquet.

    The file has ``image`` and ``caption`` (or ``title``); ``group`` names near-duplicates, and without it each row is
    its own group.
    """
    parser = argparse.ArgumentParser(description="AUC of true against swapped captions")
    parser.add_argument("--model", required=True, help="a model folder, or open_clip:MODEL@FILE")
    parser.add_argument("--pairs", required=True, help="Parquet file with image and caption or title")
    options = parser.parse_args()
    with open_parquet(options.pairs) as parquet:
        table = parquet.read()
    caption = next((name for name in CAPTION_COLUMNS if name in table.column_names), None)
    if caption is None or "image" not in table.column_names:
        raise InputError(f"{options.pairs}: needs the columns image and caption, has {', '.join(table.column_names)}")
    rows = [row for row in table.to_pylist() if (row[caption] or "").strip()]
    groups = [row.get("group") or str(place) for place, row in enumerate(rows)]
    found = separation_auc(load_model(options.model), [r["image"] for r in rows], [r[caption] for r in rows], groups)
    print(
        f"AUC {found.auc:.3f}, 95% interval [{found.low:.3f}, {found.high:.3f}], "
        f"{found.pairs:,} pairs in {found.groups:,} groups"
    )


if __name__ == "__main__":
    main()
