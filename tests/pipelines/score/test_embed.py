"""Embeddings against open_clip's own forward on real pairs, the stream's bounds, and which bits may differ."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipsieve.pipelines.score.embed import EmbeddedBatch, embed
from clipsieve.pipelines.score.references import BUILTIN, load_reference
from clipsieve.schemas.models import CONFIG_NAME, LoadedModel, load_model
from clipsieve.schemas.samples import Sample

PAIRS = 24
pytestmark = [pytest.mark.numeric, pytest.mark.filterwarnings("ignore:Palette images with Transparency")]


@pytest.fixture(scope="module")
def pairs() -> list[Sample]:
    """Openclipart's pictures with their titles, as the quickstart has them."""
    table = pq.read_table(io.BytesIO((resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes()))
    rows = table.slice(0, PAIRS).to_pylist()
    return [
        Sample(f"{row:09d}", {"png": pair["image"], "txt": pair["title"].encode()}, 0, 0)
        for row, pair in enumerate(rows)
    ]


def vit_b_32() -> LoadedModel:
    """The architecture in its full size, with random weights."""
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    return LoadedModel("ViT-B-32", model.eval(), preprocess, open_clip.get_tokenizer("ViT-B-32"), "")


def similarity(batches: Iterator[EmbeddedBatch], number: int = 0) -> np.ndarray:
    return np.concatenate([batch.by_reference[number].similarity for batch in batches])


@pytest.mark.parametrize(("name", "count"), [(BUILTIN, PAIRS), ("ViT-B-32", 8)])
def test_similarities_of_real_pairs_are_open_clips(pairs: list[Sample], name: str, count: int) -> None:
    """To 1e-5, in mini-batches of another size, on two threads; decoded as open_clip's loader does, RGB at once."""
    reference = load_reference(name) if name == BUILTIN else vit_b_32()
    decoded = [Image.open(io.BytesIO(pair.image)).convert("RGB") for pair in pairs[:count]]
    with torch.no_grad():
        images = torch.stack(list(map(reference.preprocess, decoded)))
        image, text, _ = reference.model(images, reference.tokenizer([pair.caption for pair in pairs[:count]]))
    found = similarity(embed(pairs[:count], [reference], "x.tar", 5, threads=2))
    assert found.dtype == np.float32
    assert np.abs(found - (image * text).sum(dim=-1).numpy()).max() < 1e-5


def test_bits_depend_on_the_mini_batches_alone(pairs: list[Sample], tiny_model: Path) -> None:
    """Again, on other threads, next to another reference: the same bits. Of another batch size: the same to 1e-5."""
    tiny, builtin = load_model(str(tiny_model)), load_reference(BUILTIN)
    first = similarity(embed(pairs, [builtin], "x.tar", 8, threads=1))
    assert np.array_equal(first, similarity(embed(pairs, [builtin], "x.tar", 8, threads=3)))
    assert np.array_equal(first, similarity(embed(pairs, [tiny, builtin], "x.tar", 8, threads=1), 1))
    assert np.array_equal(first[:16], similarity(embed(pairs[:16], [builtin], "x.tar", 8, threads=1)))
    assert np.allclose(first, similarity(embed(pairs, [builtin], "x.tar", 7, threads=1)), atol=1e-5)


def test_references_share_pixels_only_where_they_are_configured_alike(
    pairs: list[Sample], tiny_model: Path, tmp_path: Path
) -> None:
    """In a black or a white frame: the transforms' texts are the same."""
    config = json.loads((tiny_model / CONFIG_NAME).read_text())
    references: list[LoadedModel] = []
    for fill in (0, 255, 0):
        folder = tmp_path / str(len(references))
        shutil.copytree(tiny_model, folder)
        preprocess_cfg = {**config["preprocess_cfg"], "resize_mode": "longest", "fill_color": fill}
        (folder / CONFIG_NAME).write_text(json.dumps({**config, "preprocess_cfg": preprocess_cfg}))
        references.append(load_model(str(folder)))
    narrow = [pair for pair in pairs if len(set(Image.open(io.BytesIO(pair.image)).size)) == 2][:4]
    (batch,) = embed(narrow, references, "x.tar", 4, threads=1)
    for reference, made in zip(references, batch.by_reference, strict=True):
        (alone,) = embed(narrow, [reference], "x.tar", 4, threads=1)
        assert np.array_equal(made.image, alone.by_reference[0].image)
    black, white, _ = batch.by_reference
    assert np.abs(black.image - white.image).max() > 1e-3


def test_samples_are_taken_as_the_batches_are(pairs: list[Sample], tiny_model: Path) -> None:
    taken = 0

    def counted() -> Iterator[Sample]:
        nonlocal taken
        for pair in pairs:
            taken += 1
            yield pair

    batches = embed(counted(), [load_model(str(tiny_model))], "x.tar", 2, threads=2)
    assert [len(batch.keys) for batch in (next(batches), next(batches))] == [2, 2]
    assert taken == 2 * (3 + 1)
    assert len(list(batches)) == PAIRS // 2 - 2
