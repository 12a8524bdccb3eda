"""What is said of a run that no device holds; its figures are those of the dry run with the options that are named."""

from __future__ import annotations

import re

import pytest

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.cost.dry_run import dry_run
from clipsieve.training.cost.fits import memory_warnings

H14 = {"tower": "vit-h-14", "samples": "400M", "batch_size": 65_536, "precision": "bf16", "context_length": 32}
"""Without masks and checkpointed activations."""


def warnings_of(devices, **options):
    return [*memory_warnings({"it": dry_run(TrainOptions(**options), devices)})]


def test_a_run_that_fits_is_passed_over():
    assert warnings_of(1) == []


@pytest.mark.parametrize("devices", [64, 256])
def test_the_options_that_are_named_make_it_fit(devices):
    (line,) = warnings_of(devices, **H14)
    said = re.fullmatch(
        r"it: (\d+) GiB a device, more than the 80 GiB of an A100 or H100( and the 141 GiB of an H200)?; with (.*) it "
        r"is (\d+) GiB",
        line,
    )
    assert said and bool(said[2]) == (int(said[1]) > 141)
    named = {option: value or True for option, value in re.findall(r"`(\w+)`(?: (\w+))?", said[3])}
    run = dry_run(TrainOptions(**H14, **named), devices)
    assert f"{run.memory.total(run.options.checkpoint_activations) / 2**30:.0f}" == said[4]
    assert int(said[4]) <= 80 and "checkpoint_activations" in named
