"""How well a model tells an image's own caption from another's: what a reference for scoring must do well.

The similarity of every pair is set against that of the same image with a swapped caption. The AUC of the two
is the chance that a true pair scores above a swapped one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.embeddings import embed_images, embed_texts
from evaluation.statistics import paired_auc
from schemas.errors import InputError
from schemas.models import LoadedModel

BATCH_SIZE = 128


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
    swapped = swap_captions(captions, seed)
    named = ((f"image {row}", data) for row, data in enumerate(images))
    image_embeddings = embed_images(model, named, BATCH_SIZE)
    text_embeddings = embed_texts(model, captions, BATCH_SIZE)
    true = (image_embeddings * text_embeddings).sum(axis=1)
    false = (image_embeddings * text_embeddings[swapped]).sum(axis=1)
    estimate = paired_auc(true, false, groups, seed)
    return Separation(estimate.value, estimate.low, estimate.high, len(captions), len(set(groups)))


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
        raise InputError(
            f"captions: {most} of {len(captions)} are {text!r}, too many to swap each for another"
        )
    generator = np.random.default_rng(seed)
    place_of = dict(zip(copies, generator.permutation(len(copies)), strict=True))
    shuffled = generator.permutation(len(captions))
    circle = shuffled[np.argsort([place_of[captions[row]] for row in shuffled], kind="stable")]
    swapped = np.empty(len(captions), np.int64)
    swapped[circle] = np.roll(circle, -most)
    return swapped
