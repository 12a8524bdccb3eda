"""What dedup keeps, against one row after another; bands, clusters and thumbnails, against a look at every pair."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from clipsieve.pipelines.dedup import search
from clipsieve.pipelines.dedup.exact import EqualValues
from clipsieve.pipelines.dedup.greedy import keep_best
from clipsieve.pipelines.dedup.perceptual import NearHashes, is_regular
from clipsieve.pipelines.dedup.same import are_same, likeness, picture_of
from clipsieve.pipelines.dedup.semantic import NearEmbeddings
from clipsieve.pipelines.dedup.thumbnail import NearThumbnails, has_contrast, thumbnail_of


def first_where(holds):
    """The `FirstSame` of a rule over pairs of rows, looked at one by one."""

    def first_same(rows, columns):
        found, seen = np.zeros(len(rows), bool), set()
        for pair, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            if row not in seen and holds(row, column):
                found[pair] = True
                seen.add(row)
        return found

    return first_same


def always(row, column):
    return True


class Everything:
    """A finder that looks at every pair of a given matrix bool[N, N]."""

    def __init__(self, near):
        self.near = near

    def best_near(self, asking, alive):
        rows = len(alive)
        before = self.near[asking] & alive & (np.arange(rows) < asking[:, None])
        return np.where(before.any(axis=1), before.argmax(axis=1), rows)


def one_after_another(near, fixed=0):
    is_kept, duplicate_of = np.arange(len(near)) < fixed, np.full(len(near), -1)
    for row in range(fixed, len(near)):
        before = near[row, :row] & is_kept[:row]
        is_kept[row] = not before.any()
        duplicate_of[row] = -1 if is_kept[row] else before.argmax()
    return duplicate_of.tolist()


def test_the_far_end_of_a_chain_is_kept():
    near = np.eye(3, dtype=bool)
    near[0, 1] = near[1, 0] = near[1, 2] = near[2, 1] = True
    assert keep_best(3, [Everything(near)]).duplicate_of.tolist() == [-1, 0, -1]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 0.6), st.integers(0, 5))
def test_rounds_keep_what_one_row_after_another_keeps(seed, rows, density, fixed):
    rng = np.random.default_rng(seed)
    matrices = [m | m.T for m in (rng.random((2, rows, rows)) < density / 2)]
    fixed = min(fixed, rows)
    kept = keep_best(rows, [Everything(m) for m in matrices], fixed)
    near = matrices[0] | matrices[1]
    assert kept.duplicate_of.tolist() == one_after_another(near, fixed)
    for row in np.flatnonzero(kept.duplicate_of >= 0):
        assert matrices[kept.finder[row]][row, kept.duplicate_of[row]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_equal_values_are_near_but_for_those_that_are_not_there(values):
    values = np.array(values)
    near = (values == values[:, None]) & (values > 0)
    assert keep_best(len(values), [EqualValues(values, values > 0)]).duplicate_of.tolist() == one_after_another(near)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 9))
def test_bands_miss_no_pair_of_hashes(seed, rows, max_hamming):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 4, np.uint64)[rng.integers(0, 4, rows)]
    for _ in range(6):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, rows).astype(np.uint64))
    near = np.array([[(int(a) ^ int(b)).bit_count() <= max_hamming for b in hashes] for a in hashes])
    takes_part = is_regular(hashes) & (rng.random(rows) < 0.9)
    finder = NearHashes(hashes, takes_part, max_hamming, first_where(always))
    near &= takes_part & takes_part[:, None]
    assert keep_best(rows, [finder]).duplicate_of.tolist() == one_after_another(near)


def test_a_pair_of_hashes_that_is_not_confirmed_is_none():
    hashes = np.full(3, 0xFFFF_FFFF, np.uint64)
    finder = NearHashes(hashes, np.ones(3, bool), 4, first_where(lambda row, column: row - column == 2))
    assert keep_best(3, [finder]).duplicate_of.tolist() == [-1, -1, 0]


def test_hashes_of_one_colour_say_nothing():
    assert is_regular(np.array([0, 1 << 63, 0xFFFF_FFFF], np.uint64)).tolist() == [False, False, True]


def test_large_groups_are_searched_in_blocks(monkeypatch):
    monkeypatch.setattr(search, "ROW_BLOCK", 7)
    monkeypatch.setattr(search, "FIRST_COLUMNS", 2)
    hashes = np.random.default_rng(0).permutation(np.repeat(np.array([0xFFFF_FFFF, 0xFFFF_FFFF << 32], np.uint64), 40))
    near = hashes == hashes[:, None]
    finder = NearHashes(hashes, np.ones(80, bool), 0, first_where(always))
    assert keep_best(80, [finder]).duplicate_of.tolist() == one_after_another(near)


def test_embeddings_are_compared_by_their_true_cosine():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 32)).astype(np.float32)
    copies = rng.choice(5000, 800, replace=False)
    vectors[copies[:400]] = vectors[copies[400:]] + rng.normal(0, 0.15, (400, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    wanted = one_after_another(cosine >= 0.97)
    finder = NearEmbeddings(np.arange(5000), lambda rows: vectors[rows], 0.97, seed=0)
    found = keep_best(5000, [finder]).duplicate_of
    gone = np.flatnonzero(found >= 0)
    assert (cosine[gone, found[gone]] >= 0.97).all()
    assert (found[gone] == np.array(wanted)[gone]).mean() > 0.99
    assert len(gone) >= 0.99 * (np.array(wanted) >= 0).sum() > 300
    again = NearEmbeddings(np.arange(5000), lambda rows: vectors[rows], 0.97, seed=0)
    assert keep_best(5000, [again]).duplicate_of.tolist() == found.tolist()


def drawing(seed):
    """A picture of ellipses and lines in colour, 256 x 192."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (256, 192), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = np.sort(rng.integers(0, 256, 2)).tolist(), np.sort(rng.integers(0, 192, 2)).tolist()
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((x[0], y[0], x[1] + 2, y[1] + 2), fill=colour)
        draw.line((x[0], y[1], x[1], y[0]), fill=colour, width=3)
    return image


def copies_of(image, rng):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    yield Image.open(stream)
    yield image.resize((128, 96), Image.Resampling.BICUBIC)
    x, y = rng.integers(0, 13), rng.integers(0, 10)
    yield image.crop((x, y, x + 243, y + 182))


def test_thumbnails_find_copies_and_no_other_picture():
    rng = np.random.default_rng(0)
    pictures = [drawing(seed) for seed in range(200)]
    pictures += [copy for picture in pictures for copy in copies_of(picture, rng)]
    thumbnails = np.stack([thumbnail_of(np.asarray(picture)) for picture in pictures])
    seen = [picture_of(np.asarray(picture)) for picture in pictures]
    first_same = first_where(lambda row, column: are_same(seen[row], seen[column]))
    finder = NearThumbnails(np.arange(800), lambda rows: thumbnails[rows], 0, first_same)
    found = keep_best(800, [finder]).duplicate_of
    source = np.concatenate([np.arange(200), np.repeat(np.arange(200), 3)])
    gone = np.flatnonzero(found >= 0)
    assert (source[found[gone]] == source[gone]).all(), "no false pair"
    assert len(gone) >= 0.99 * 600


SMALL_DIFFERENCES = {
    "a square": lambda draw: draw.rectangle((100, 80, 116, 96), fill=(255, 0, 255)),
    "a line": lambda draw: draw.line((20, 20, 60, 170), fill="black", width=3),
    "a wheel in another colour": lambda draw: draw.ellipse((150, 120, 176, 146), fill=(0, 220, 0)),
}


@pytest.mark.parametrize("name", SMALL_DIFFERENCES)
def test_one_small_difference_makes_two_pictures(name):
    one, other = drawing(1), drawing(1)
    SMALL_DIFFERENCES[name](ImageDraw.Draw(other))
    first, second = (picture_of(np.asarray(each)) for each in (one, other))
    assert are_same(first, first) and are_same(second, second)
    assert not are_same(first, second) and not are_same(second, first)


def test_five_diamonds_are_not_six():
    cards = []
    for count in (5, 6):
        card = Image.new("RGB", (180, 256), "white")
        for number in range(count):
            x, y = 50 + 80 * (number % 2), 50 + 75 * (number // 2)
            ImageDraw.Draw(card).polygon([(x, y - 22), (x + 16, y), (x, y + 22), (x - 16, y)], fill=(200, 0, 0))
        cards.append(picture_of(np.asarray(card)))
    itself = likeness(cards[0], cards[0])
    assert (itself.structure, itself.colour, itself.contrast) == pytest.approx((1, 0, 1), abs=1e-3)
    assert not are_same(*cards)


@pytest.mark.parametrize(("contrast", "same"), [(0.95, True), (0.8, False), (0.6, False)])
def test_a_fainter_picture_is_another(contrast, same):
    """What a drawing of fewer thin lines is at the size at which it is seen."""
    pixels = np.asarray(drawing(1), np.float32)
    faint = (pixels.mean(axis=(0, 1)) + contrast * (pixels - pixels.mean(axis=(0, 1)))).round().astype(np.uint8)
    pair = [picture_of(each) for each in (np.asarray(drawing(1)), faint)]
    assert likeness(*pair).contrast == pytest.approx(contrast, abs=0.01)
    assert are_same(*pair) == are_same(*pair[::-1]) == same


def meme(line, size):
    image = drawing(1).resize((341, 256), Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).text((40, 225), line, "black", ImageFont.load_default(size))
    return image


def chart(numbers, size):
    image = Image.new("RGB", (256, 256), "white")
    for column, number in enumerate(numbers):
        ImageDraw.Draw(image).rectangle((20 + 45 * column, 60, 50 + 45 * column, 230), fill="navy")
        ImageDraw.Draw(image).text((22 + 45 * column, 40), str(number), "black", ImageFont.load_default(size))
    return image


PRINTS = {
    meme: ("when you see it again", "not for sale, ask mum"),
    chart: ((123, 456, 789, 321, 654), (987, 141, 253, 668, 700)),
}


@pytest.mark.parametrize("size", [11, 14, 20])
@pytest.mark.parametrize("make", PRINTS)
def test_other_small_print_makes_two_pictures(make, size):
    one, other = (make(print_, size) for print_ in PRINTS[make])
    first, second = (picture_of(np.asarray(each)) for each in (one, other))
    compressed = picture_of(np.asarray(next(copies_of(one, np.random.default_rng(0)))))
    assert are_same(first, compressed)
    assert not are_same(first, second) and not are_same(second, compressed)


@settings(max_examples=20)
@given(st.integers(0, 50), st.floats(0.95, 1), st.floats(0, 1), st.floats(0, 1))
@example(39, 0.96875, 1.0, 1.0)  # of colours that are equally bright
def test_a_crop_is_laid_over_its_picture(seed, side, x, y):
    whole = drawing(seed).resize((512, 384), Image.Resampling.BICUBIC)
    left, top = round(x * (1 - side) * 512), round(y * (1 - side) * 384)
    crop = whole.crop((left, top, left + round(side * 512), top + round(side * 384)))
    pair = [picture_of(np.asarray(each)) for each in (whole, crop)]
    assert are_same(*pair) and are_same(*pair[::-1])


def test_blank_pictures_are_never_the_same():
    white = picture_of(np.full((64, 64, 3), 255, np.uint8))
    assert not are_same(white, white)


@pytest.mark.parametrize(("colour", "clear"), [((255, 255, 255), False), ((255, 0, 0), True)])
def test_a_blank_picture_has_no_contrast(colour, clear):
    page = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(page).rectangle((20, 20, 40, 40), fill=colour)
    assert has_contrast(thumbnail_of(np.asarray(page))[None]).tolist() == [clear]
