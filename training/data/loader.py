"""Reads a plan's samples by byte offset, decodes them ahead of the step, and writes them into batches.

What was decoded is kept while there is room, so a small subset that is seen many times is decoded once. Order
and augmentation are functions of the recipe and of the place in the stream: workers and processes change
neither. Nor do they change what takes the place of a sample that cannot be read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from clipsieve.schemas.errors import InputError, one_line
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.ranges import ByteRanges, RangeReader
from clipsieve.schemas.samples import SAMPLES_A_READ, Sample, read_samples
from clipsieve.schemas.threads import Future, open_pool
from clipsieve.training.data.images import image_stages, needed_side
from clipsieve.training.data.order import SampleOrder
from clipsieve.training.data.ring import Arrays, Field
from clipsieve.training.data.side import SideTables
from clipsieve.training.data.texts import FULL_LENGTH, text_stages
from clipsieve.training.data.turns import in_turn, slots_needed
from clipsieve.training.data.workers import WorkerPool
from clipsieve.training.strategies.base import View
from clipsieve.training.towers.tower import Tower

CACHE_BYTES = 1 << 30
"""Decoded pairs kept by the workers of a process in all: 82,000 of 64 px, 7,000 of 224 px."""
ATTEMPTS = 16
"""Samples that are drawn for the place of one before it is given up; of a sound store, not two in a row are bad."""
_TEXTS, _TEACHER = "texts", "teacher"

DecodedPair = tuple[np.ndarray, np.ndarray]
"""What is the same in every epoch: uint8[H, W, 3] pixels and int64[L] tokens."""


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be read when its turn in the stream came."""

    position: int
    """In the stream, from 0."""
    tar: str
    offset: int
    """Of its members in the tar."""
    reason: str
    is_last: bool = False
    """Whether nothing takes its place: it is the last that was drawn for it."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a step. Its tensors are overwritten once the next batch is requested."""

    images: dict[str, torch.Tensor]
    """uint8[B, 3, S, S] by view, RGB."""
    texts: torch.Tensor
    """int64[B, L], token ids."""
    bad: tuple[BadSample, ...] = ()
    """What could not be read of it. Where one ``is_last``, the rows from there on are not set."""
    teacher: torch.Tensor | None = None
    """float16[B, 2, D], a teacher's embeddings of image and caption, 0 where it has none; None: there is no teacher."""


class PairReader:
    """Reads the pair at any position of a run's stream. It is pickled as what it was made from."""

    def __init__(
        self,
        order: SampleOrder,
        tower: Tower,
        views: Sequence[View],
        text_mask: str,
        side: SideTables | None = None,
        ranges: ByteRanges | None = None,
        cache_bytes: int | None = None,
        is_exact: bool = False,
    ) -> None:
        """``side`` joins other captions and a teacher's embeddings; ``ranges`` reads the tars, none: where they are.

        With ``is_exact`` images are decoded at their whole size, as evaluation decodes them.
        """
        self.side = side or SideTables()
        self._order, self._plan, self._views, self._seed = order, order.plan, views, order.seed
        self._tower, self._text_mask, self._given_ranges = tower, text_mask, ranges
        augments, text_cfg = [view.augment for view in views], tower.model_cfg["text_cfg"]
        self._encode, self._reduce = text_stages(text_mask, text_cfg)
        self._prepare, self._augments = image_stages(augments, tower.preprocess_cfg)
        self._is_exact = is_exact
        self._side = None if is_exact else needed_side(augments, tower.image_size)
        self._ranges = ranges or RangeReader()
        self._cache: dict[int, DecodedPair] = {}
        self.cache_bytes = CACHE_BYTES if cache_bytes is None else cache_bytes
        """Room for what is kept; that of several workers is shared out among them."""
        self._kept_bytes = 0
        pixels, length = (tower.image_size, tower.image_size, 3), int(text_cfg.get("context_length", FULL_LENGTH))
        self.fields = {view.name: Field("uint8", pixels) for view in views} | {_TEXTS: Field("int64", (length,))}
        if self.side.teacher:
            self.fields[_TEACHER] = Field("float16", self.side.teacher.shape)

    def __reduce__(self) -> tuple[type[PairReader], tuple[Any, ...]]:
        return PairReader, (
            self._order,
            self._tower,
            self._views,
            self._text_mask,
            self.side,
            self._given_ranges,
            self.cache_bytes,
            self._is_exact,
        )

    def fill(self, positions: range, into: Arrays, part: int = 0, parts: int = 1) -> list[BadSample]:
        """Write the pairs at these positions of the stream into the rows of ``into``; returns those that are bad.

        Of several ``parts``, each of which keeps what it decoded, this one takes the samples that are always its own.
        """
        indices = self._order.slice(positions.start, positions.stop)
        own = np.flatnonzero(indices % parts == part).tolist()
        bad: list[BadSample] = []
        for start in range(0, len(own), SAMPLES_A_READ):
            rows = own[start : start + SAMPLES_A_READ]
            pairs = self._pairs(indices[rows].tolist())
            for row in rows:
                index = int(indices[row])
                sound = self._sound(positions[row], index, pairs[index], bad)
                if sound is None:
                    return bad
                self._write(*sound, positions[row], into, row)
        return bad

    def allocate(self, pairs: int) -> Arrays:
        """New arrays of a batch, in memory that a GPU can fetch from by itself where there is one."""
        arrays = {}
        for name, field in self.fields.items():
            memory = torch.empty(pairs * field.nbytes, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
            arrays[name] = memory.numpy().view(field.dtype).reshape(pairs, *field.shape)
        return arrays

    def batch(self, arrays: Arrays, bad: Iterable[BadSample]) -> Batch:
        """The tensors of filled arrays, in the same memory."""
        images = {view.name: torch.from_numpy(arrays[view.name]).permute(0, 3, 1, 2) for view in self._views}
        teacher = torch.from_numpy(arrays[_TEACHER]) if _TEACHER in arrays else None
        ordered = tuple(sorted(bad, key=lambda each: each.position))
        return Batch(images, torch.from_numpy(arrays[_TEXTS]), ordered, teacher)

    def names(self, positions: range) -> list[tuple[str, str | None]]:
        """The tar and the key of the sample at each of these positions of the stream; None: it cannot be read."""
        indices = self._order.slice(positions.start, positions.stop).tolist()
        samples = self._fetch_each(indices)
        keys = (None if isinstance(sample, str) else sample.key for sample in samples)
        return [(self._tar(index), key) for index, key in zip(indices, keys, strict=True)]

    def _write(self, index: int, pair: DecodedPair, position: int, into: Arrays, row: int) -> None:
        """Write the pair of the sample ``index`` as it is seen at a position of the stream."""
        pixels, tokens = pair
        other = self.side.captions(index, position) if self.side.captions else None
        if other is not None:
            tokens = self._encode(other)
        for number, (view, augment) in enumerate(zip(self._views, self._augments, strict=True)):
            into[view.name][row] = augment(pixels, (self._seed, position, number))
        into[_TEXTS][row] = self._reduce(tokens, (self._seed, position))
        if self.side.teacher:
            into[_TEACHER][row] = self.side.teacher(np.array([index]))[0]

    def _sound(
        self, position: int, index: int, pair: DecodedPair | str, bad: list[BadSample]
    ) -> tuple[int, DecodedPair] | None:
        """The pair, or the first sound one of those drawn for its place, with its index; None where there is none."""
        for attempt in range(1, ATTEMPTS + 1):
            if not isinstance(pair, str):
                return index, pair
            tar, offset, _ = self._plan.ranges([index])[0]
            bad.append(BadSample(position, tar, offset, reason=pair, is_last=attempt == ATTEMPTS))
            index = self._order.replacement(position, attempt)
            pair = self._pairs([index])[index]
        return None

    def _pairs(self, indices: Sequence[int]) -> dict[int, DecodedPair | str]:
        """Of each sample its pixels and tokens, from the cache or decoded, or why it cannot be read.

        The bytes of all that are missing are requested at once.
        """
        pairs: dict[int, DecodedPair | str] = {i: self._cache[i] for i in indices if i in self._cache}
        missing = [index for index in dict.fromkeys(indices) if index not in pairs]
        for index, sample in zip(missing, self._fetch_each(missing), strict=True):
            pairs[index] = sample if isinstance(sample, str) else self._decode(index, sample)
        return pairs

    def _decode(self, index: int, sample: Sample) -> DecodedPair | str:
        try:
            pixels = self._prepare(decode_sample(sample, self._tar(index), self._side))
        except InputError as error:
            return str(error)
        except ValueError as error:  # so long that its shorter side would have no pixel
            return f"{self._tar(index)}: sample {sample.key}: the image cannot be resized ({error})"
        pair = pixels, self._encode(sample.caption)
        needed = sum(array.nbytes for array in pair)
        if self._kept_bytes + needed <= self.cache_bytes:
            self._cache[index] = pair
            self._kept_bytes += needed
        return pair

    def _fetch_each(self, indices: Sequence[int]) -> list[Sample | str]:
        """The samples, or why one cannot be read."""
        try:
            return [*self._fetch(indices)]
        except (InputError, OSError) as error:
            if len(indices) == 1:
                return [str(error) if isinstance(error, InputError) else f"{self._tar(indices[0])}: {one_line(error)}"]
        return [self._fetch_each([index])[0] for index in indices]

    def _fetch(self, indices: Sequence[int]) -> list[Sample]:
        return read_samples(self._plan.ranges(indices), self._ranges, self._plan.naming)

    def _tar(self, index: int) -> str:
        return self._plan.ranges([index])[0][0]


def load_batches(reader: PairReader, shares: Iterable[range], workers: int) -> Generator[Batch, None, None]:
    """The batch of each range of stream positions, in order, read two batches ahead.

    They are read by one thread of this process, or by so many processes. No range is longer than the first.
    """
    ahead = iter(shares)
    first = next(ahead, None)
    if first is None:
        return
    filled = _by_processes if workers else _by_thread
    with closing(filled(reader, chain([first], ahead), len(first), workers)) as parts:
        for arrays, bad in parts:
            yield reader.batch(arrays, bad)


_Filled = Generator[tuple[Arrays, list[BadSample]], None, None]


def _by_thread(reader: PairReader, shares: Iterator[range], most: int, _: int) -> _Filled:
    slots = [reader.allocate(most) for _ in range(slots_needed())]
    filling: dict[int, Future[list[BadSample]]] = {}
    thread = open_pool(1, "loader")

    def begin(slot: int, share: range) -> None:
        filling[slot] = thread.submit(reader.fill, share, slots[slot])

    try:
        yield from in_turn(slots, shares, begin, lambda slot: filling.pop(slot).result())
    finally:
        thread.shutdown(cancel_futures=True)


def _by_processes(reader: PairReader, shares: Iterator[range], most: int, workers: int) -> _Filled:
    with closing(WorkerPool(reader, most, workers)) as pool:
        for arrays, answers in pool.filled(shares):
            yield arrays, [sample for answer in answers for sample in answer]
