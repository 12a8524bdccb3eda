"""Thumbnails, and that a card shows the sample of its own uid."""

from __future__ import annotations

import base64
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.evaluation.pages.thumbnails import CAPTION_CHARS, shorten, thumbnail
from clipsieve.evaluation.report.cuts import read_cuts
from clipsieve.evaluation.report.galleries import make_cards
from clipsieve.evaluation.report.scored_pool import read_pool
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.samples import iter_samples


def test_a_thumbnail_is_a_small_webp_of_the_same_picture():
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 200:] = (255, 0, 0)
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    uri, width, height = thumbnail(Image.open(stream))
    assert (width, height) == (128, 32)
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (decoded.format, decoded.size) == ("WEBP", (128, 32))
    assert np.abs(np.asarray(decoded)[16, [8, 120]].astype(int) - [[0, 0, 0], [255, 0, 0]]).max() < 25


def test_a_small_image_is_not_enlarged():
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, "JPEG")
    assert thumbnail(Image.open(stream))[1:] == (20, 10)


def test_captions_are_one_short_line():
    assert shorten(" a\n b\t") == "a b"
    assert shorten("x" * CAPTION_CHARS) == "x" * CAPTION_CHARS
    assert shorten("x" * 1000) == "x" * (CAPTION_CHARS - 1) + "…"


@pytest.mark.parametrize("has_offsets", [True, False])
def test_every_card_shows_the_sample_of_its_uid(run_dir, has_offsets):
    if not has_offsets:  # as img2dataset itself leaves a shard
        for path in (run_dir / "shards").glob("*.parquet"):
            table = pq.read_table(path)
            pq.write_table(table.drop_columns(["tar_offset", "tar_size"]), path)
    by_uid = {
        sample.metadata["uid"]: sample
        for path in (run_dir / "shards").glob("*.tar")
        for sample in iter_samples(str(path))
    }
    cards = _cards(run_dir)
    shown = {pair.uid for band in _pool(run_dir).bands for pair in band.drawn}
    assert shown <= cards.keys()
    for uid, card in cards.items():
        assert card.image == thumbnail(decode_sample(by_uid[uid], "run"))[0]
        assert card.caption == shorten(by_uid[uid].caption)


def test_a_pair_without_a_sample_is_named(run_dir):
    for path in (run_dir / "scores").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.slice(0, 0), path)
    with pytest.raises(InputError, match=r"shards: no sample of uid [0-9a-f]{32}, which is in selection/0000"):
        _cards(run_dir)


def test_an_image_that_cannot_be_read_is_named(run_dir):
    tar = run_dir / "shards/00000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"JFIF", b"\xff\xd9\xff\xd9").replace(b"\xff\xd8\xff\xe0", b"GIF8"))
    with pytest.raises(InputError, match=r"shards/00000\.tar: sample 00000\d{4}: the image cannot be decoded"):
        _cards(run_dir)


def _pool(run_dir):
    return read_pool(str(run_dir), read_cuts(str(run_dir / "subsets")))


def _cards(run_dir):
    return make_cards(str(run_dir), _pool(run_dir))
