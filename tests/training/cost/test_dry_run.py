"""A dry run against the papers' ratios and sums by hand."""

from __future__ import annotations

import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.cost.dry_run import DryRun, dry_run, table
from clipsieve.training.cost.ledger import Cost
from clipsieve.training.cost.memory import Memory

B32 = {"tower": "vit-b-32", "samples": "400M", "batch_size": 16384, "precision": "bf16"}


@pytest.fixture(scope="module")
def clip():
    return dry_run(TrainOptions(**B32), 64)


def test_tokens_batches_and_steps(clip):
    assert (clip.image_tokens, clip.text_tokens) == (50, 16)
    assert (clip.device_batch, clip.steps) == (256, 24_414)
    assert dry_run(TrainOptions(), 1).image_tokens == 65
    assert dry_run(TrainOptions(tower="regnet-tiny-64"), 1).image_tokens is None


def test_strategies_cost_what_the_paper_says(clip):
    """Scaling (Down) CLIP, B/32: SLIP's three passes cost 2.5 times CLIP, FLIP's half image 0.63 times."""
    slip = dry_run(TrainOptions(**B32, strategy="slip", augment="crop"), 64)
    flip = dry_run(TrainOptions(**B32, image_mask="random"), 64)
    assert slip.flops / clip.flops == pytest.approx(2.5, abs=0.05)
    assert flip.flops / clip.flops == pytest.approx(0.63, abs=0.01)
    assert flip.image_tokens == 25


def made(**options):
    """A run of a forward pass of 5 GMAC a pair, 1000 steps of 256."""
    chosen = TrainOptions(samples=256_000, **options)
    return DryRun(chosen, 8, 50, 16, Cost(10**8, 4 * 10**9, 10**9), Memory(1, 1, 2, 40, 4, 1))


def test_hours_by_hand():
    run = made()
    flops = 256_000 * 2 * 3 * 5e9
    assert run.flops == run.computed_flops == flops
    assert run.device_hours("A100", 0.5) == pytest.approx(flops / (312e12 * 0.5) / 3600)
    assert run.device_hours("A100", 0.5) / run.device_hours("H100", 0.5) == pytest.approx(989 / 312)


def test_what_is_computed_again_takes_time_and_counts_for_nothing():
    again = made(accumulate=4, checkpoint_activations=True)
    assert again.flops == made().flops
    assert again.computed_flops == pytest.approx(made().flops * 5 / 3)
    assert (again.memory.total(True), again.memory.total(False)) == (9, 45)


def test_a_row_a_run(clip):
    shown = table({"one": clip, "two": made()}, 0.4)
    assert shown.row_count == 2
    cells = [str(next(iter(column.cells))) for column in shown.columns]
    assert cells[:6] == ["one", "vit-b-32", "50", "16", "256", "24,414"]
    assert cells[10:14] == ["5.77", "11.55", "34.64", "13.9"]


@pytest.mark.parametrize(
    ("options", "devices", "reason"),
    [
        ({}, 7, "`batch_size` 256 does not divide by 7 devices"),
        ({"parallel": "fsdp", "replicas": 3}, 8, "`replicas` 3 does not divide 8 devices"),
        ({"samples": 256 * 50}, 8, "`warmup_steps` 50 is not below the run's 50 steps"),
        ({"tower": "regnet-tiny-64", "image_mask": "random"}, 8, "`image_mask` random: tower 'regnet-tiny-64' is a"),
    ],
)
def test_what_training_would_refuse_is_refused(options, devices, reason):
    with pytest.raises(InputError, match=reason):
        dry_run(TrainOptions(**options), devices)
