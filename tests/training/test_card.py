"""The model card of a run by hand: what it says of data and compute is the manifest's and the ledger's."""

from __future__ import annotations

import pytest

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.ledger import Ledger
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.training.card import CARD_NAME, write_card
from clipsieve.training.towers.tower import load_tower

COUNTS = TrainCounts(
    pairs=1_000,
    samples_seen=12_800,
    unique_samples=1_000,
    steps=100,
    parameters=1_234,
    image_macs=30_000_000,
    text_macs=20_000_000,
)


def card(folder, samples):
    ledger = Ledger(
        parameters=1_234,
        image_macs=30_000_000,
        text_macs=20_000_000,
        training_macs=150_000_000,
        steps=100,
        samples_seen=samples,
        unique_samples=samples,
        training_flops=2 * 150_000_000 * samples,
        device="cpu",
        devices=2,
        device_hours=0.5,
    )
    manifest = Manifest(
        stage="train",
        recipe=TrainOptions(),
        inputs={"shards": "ab12"},
        subsets=[WeightedSubset(name="top40", path=None, digest="ef56")],
        versions={"clipsieve": "0.1.0"},
        started_at="",
        counts=COUNTS,
        digest="cd34",
    )
    write_card(str(folder), manifest, load_tower("vit-tiny-64"), ledger)
    return (folder / CARD_NAME).read_text()


@pytest.mark.parametrize(
    ("samples", "in_all"),
    [(1, "0.3 GFLOP"), (12_800, "3.8 TFLOP"), (10_000_000, "3.0 PFLOP"), (3_400_000_000, "1,020.0 PFLOP")],
)
def test_the_compute_of_a_run_is_readable_at_every_scale(tmp_path, samples, in_all):
    text = card(tmp_path, samples)
    assert f"| training, in all | {in_all} |" in text
    assert "| forward pass of a pair | 0.050 GMAC (0.100 GFLOP) |" in text
    assert "| training, a pair | 0.300 GFLOP |" in text
    assert "| device-hours | 0.5 on 2 x cpu |" in text


def test_a_card_names_data_and_digests(tmp_path):
    text = card(tmp_path, 12_800)
    assert "Trained on the subset `top40`: 1,000 pairs, 12,800 samples seen in 100 steps" in text
    assert "| shards | ab12 |" in text and "| weights | cd34 |" in text
