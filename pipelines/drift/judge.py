"""What each image is next to the published one: pure functions over what is known of all pairs.

Evidence of a pair by itself that it shows another picture, any of:

    shape        width and height are not the published ones, scaled and rounded
    embedding    own and published image embedding are not near
    similarity   where there are no embeddings: own less published lies too far from the pool's median

Of images that are small or were resized a reference sees less, so that more is allowed. Equal bytes (sha256) outweigh
all of it. Then pairs are seen together: one image under many URLs most of which show another picture than was published
is a placeholder, and a host nearly all of whose pairs do has expired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsieve.pipelines.drift.copies import distinct_urls, groups_by_look, groups_by_value, share_in_group
from clipsieve.pipelines.drift.pairs import DownloadedPairs
from clipsieve.pipelines.drift.published import Stated
from clipsieve.schemas.drift import Verdict
from clipsieve.schemas.options import DriftOptions

MIN_HOST_PAIRS = 5
"""Fewest pairs by which a host may be called expired."""
EXPIRED_SHARE = 0.8
"""Least share of them that show another picture."""
PLACEHOLDER_SHARE = 0.5
"""Least share of the pairs of one image that were published with another picture."""
SMALL_SIDE = 96
"""Pixels of the shorter side below which a reference sees less of an image, the more so the smaller it is."""
MAX_DISTANCE = 0.3
"""The most that an embedding may be off, however small the image; 1 is at a right angle."""
MIN_SCALE_SHARE = 0.05
"""Of the robust standard deviation of published similarities, the least that own less published may have.

In a pool that hardly drifted the differences are those of one decoder from another; a re-encoded image has more.
"""
_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class DriftEvidence:
    """What is known of N pairs, each by itself."""

    is_same: np.ndarray
    """bool[N]: the bytes are the published ones."""
    has_size: np.ndarray
    """bool[N]: own and published size are known."""
    has_equal_size: np.ndarray
    """bool[N]"""
    has_shape: np.ndarray
    """bool[N]: the size is the published one, scaled and rounded; True where one is not known."""
    change: np.ndarray
    """float32[N, R]: own less published similarity; NaN where one is not known."""
    deviation: np.ndarray
    """float64[N]: of it, the largest of the references, in robust standard deviations; 0 where not known."""
    is_off: np.ndarray
    """bool[N]: the deviation is too large, and no embedding tells."""
    is_far: np.ndarray
    """bool[N]: the embedding is not near the published one."""
    is_other: np.ndarray
    """bool[N]: something says that it is another picture, and the bytes do not say that it is the same."""
    is_known: np.ndarray
    """bool[N]: there is something to compare with."""


@dataclass(frozen=True)
class Judged:
    """What came of N pairs."""

    evidence: DriftEvidence
    verdicts: np.ndarray
    """str[N]: the values of `schemas.drift.Verdict`."""
    copies: np.ndarray
    """int64[N]: different URLs that show the image, by its bytes or, of a placeholder, its look; 0 where not known."""


def judge(pairs: DownloadedPairs, stated: Stated, options: DriftOptions) -> Judged:
    """The verdict on each pair."""
    evidence = gather(pairs, stated, options)
    by_bytes = groups_by_value(pairs.sha256, pairs.sha256 != 0)
    by_look = groups_by_look(pairs.phash, pairs.urls, options.min_copies, options.max_hamming)
    copies, look_copies = distinct_urls(by_bytes, pairs.urls), distinct_urls(by_look, pairs.urls)
    is_seen = evidence.is_known & ~evidence.is_same

    def is_shown_for_others(groups: np.ndarray, urls: np.ndarray) -> np.ndarray:
        return (urls >= options.min_copies) & (share_in_group(groups, is_seen, evidence.is_other) >= PLACEHOLDER_SHARE)

    is_placeholder = is_seen & is_shown_for_others(by_bytes, copies)
    # Pictures may look alike and be none: the look names a pair that shows another picture, and accuses none.
    looks_so = evidence.is_other & is_shown_for_others(by_look, look_copies)
    is_placeholder |= looks_so
    hosts = _host_numbers(pairs)
    is_expired = is_seen & _has_expired(hosts, evidence, evidence.is_other | is_placeholder)
    verdicts = np.select(
        [~evidence.is_known, evidence.is_same, is_placeholder, is_expired, evidence.is_other],
        [each.value for each in (Verdict.UNKNOWN, Verdict.SAME, Verdict.PLACEHOLDER, Verdict.EXPIRED, Verdict.SWAPPED)],
        _of_the_same_picture(pairs, stated, evidence),
    )
    return Judged(evidence, verdicts, np.where(looks_so, np.maximum(copies, look_copies), copies))


def gather(pairs: DownloadedPairs, stated: Stated, options: DriftOptions) -> DriftEvidence:
    """What is known of each pair by itself."""
    has_size = np.asarray(((pairs.sizes > 0) & (stated.sizes > 0)).all(axis=1))
    has_equal_size = has_size & (pairs.sizes == stated.sizes).all(axis=1)
    has_shape = ~has_size | is_of_shape(pairs.sizes, stated.sizes)
    has_hash = (pairs.sha256 != 0) & (stated.sha256 != 0)
    is_same = has_hash & (pairs.sha256 == stated.sha256)
    change, loose = pairs.similarities - stated.similarities, looseness(pairs.sizes, stated.sizes)
    deviation = deviations(change, spread(stated.similarities), has_shape) / loose
    has_embedding = np.isfinite(stated.cosine)
    is_off = (deviation > options.max_deviation) & ~has_embedding
    is_far = 1 - stated.cosine > np.minimum((1 - options.min_cosine) * loose**2, MAX_DISTANCE)
    compared = has_size | has_hash | np.isfinite(change).any(axis=1) | has_embedding
    return DriftEvidence(
        is_same=is_same,
        has_size=has_size,
        has_equal_size=has_equal_size,
        has_shape=has_shape,
        change=change,
        deviation=deviation,
        is_off=is_off,
        is_far=is_far,
        is_other=(~has_shape | is_off | is_far) & ~is_same,
        is_known=stated.is_there & compared,
    )


def is_of_shape(own: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """int32[N, 2] twice -> bool[N]: the one size is the other, scaled and rounded, perhaps turned by a right angle.

    A side of the smaller one is off by less than a pixel where it was rounded.
    """
    (w, h), (u, v) = own.astype(np.int64).T, stated.astype(np.int64).T
    straight = np.abs(w * v - h * u) < np.maximum(w + h, u + v)
    turned = (w == v) & (h == u)
    return np.asarray(straight | turned)


def looseness(own: np.ndarray, stated: np.ndarray) -> np.ndarray:
    """int32[N, 2] twice -> float64[N], from 1 up: how much farther than a large image of the published size one may be.

    It grows as the shorter side falls below `SMALL_SIDE`, and as the root of the factor by which the image was scaled.
    An embedding's distance grows with its square, for distances are squares of differences. 1 where a size is not
    known.
    """
    is_known = ((own > 0) & (stated > 0)).all(axis=1)
    one, other = (np.maximum(sizes, 1).astype(np.float64) for sizes in (own, stated))
    small = np.maximum(1, SMALL_SIDE / np.minimum(one.min(axis=1), other.min(axis=1)))
    factor = np.sqrt(one.prod(axis=1) / other.prod(axis=1))
    return np.where(is_known, small * np.sqrt(np.maximum(factor, 1 / factor)), 1.0)


def deviations(change: np.ndarray, published: np.ndarray, is_usual: np.ndarray) -> np.ndarray:
    """float32[N, R], float64[R] -> float64[N]: how far from the median, in robust standard deviations.

    ``published`` is the spread of the published similarities, ``is_usual`` bool[N] says by which pairs the median and
    the scale are told. Of several references the largest counts; NaN counts as 0.
    """
    most = np.zeros(len(change))
    for column, least in zip(change.T.astype(np.float64), published, strict=True):
        usual = column[is_usual & np.isfinite(column)]
        usual = usual if len(usual) else column[np.isfinite(column)]
        if not len(usual):
            continue
        middle = np.median(usual)
        scale = max(_MAD_TO_STD * np.median(np.abs(usual - middle)), MIN_SCALE_SHARE * least, 1e-6)
        most = np.fmax(most, np.abs(column - middle) / scale)
    return most


def spread(values: np.ndarray) -> np.ndarray:
    """float32[N, R] -> float64[R]: the robust standard deviation of each column, NaN left out."""
    finite = (column[np.isfinite(column)].astype(np.float64) for column in values.T)
    return np.array([_MAD_TO_STD * np.median(np.abs(each - np.median(each))) if len(each) else 0.0 for each in finite])


def _of_the_same_picture(pairs: DownloadedPairs, stated: Stated, evidence: DriftEvidence) -> np.ndarray:
    """str[N]: what a pair is that shows the published picture."""
    has_other_bytes = (pairs.sha256 != 0) & (stated.sha256 != 0)
    kept_size = evidence.has_equal_size | ~evidence.has_size
    return np.select(
        [~kept_size, has_other_bytes], [Verdict.RESIZED.value, Verdict.REENCODED.value], Verdict.SAME.value
    )


def _host_numbers(pairs: DownloadedPairs) -> np.ndarray:
    """int64[N]: of each pair's host; -1 where it has none."""
    chunks = (chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in pairs.hosts.chunks)
    return np.concatenate([np.zeros(0, np.int64), *chunks]).astype(np.int64)


def _has_expired(hosts: np.ndarray, evidence: DriftEvidence, is_other: np.ndarray) -> np.ndarray:
    """bool[N]: nearly all compared pairs of the pair's host show another picture, and none has the published bytes."""
    compared = np.bincount(hosts + 1, weights=evidence.is_known)[hosts + 1]
    share = share_in_group(hosts, evidence.is_known, is_other)
    has_same = share_in_group(hosts, evidence.is_known, evidence.is_same) > 0
    return np.asarray((compared >= MIN_HOST_PAIRS) & (share >= EXPIRED_SHARE) & ~has_same)
