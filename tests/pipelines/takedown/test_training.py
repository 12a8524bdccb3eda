"""A training run that is stopped while pairs are taken down from its shards and subset."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.checkpoint import last_origin
from clipsieve.training.train import run as train
from tests.pipelines.whole_run import Run
from tests.training.conftest import TINY_TOWER
from tests.training.terminal import Terminal
from tests.training.test_train import losses


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    tower = tmp_path / "tiny.json"
    tower.write_text(json.dumps(TINY_TOWER))
    return TrainOptions(tower=str(tower), samples=100, batch_size=10, warmup_steps=2, log_steps=1, checkpoint_steps=2)


def test_a_stopped_run_goes_on_without_the_pairs(
    whole_run: Run, tmp_path: Path, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = whole_run.copy(tmp_path)
    shards, subset = str(run.folder / "shards"), str(run.folder / "subsets" / "top80.npy")
    whole, out, done = (str(run.folder / "models" / name) for name in ("whole", "stopped", "done"))
    train(shards, (subset,), whole, options)
    train(shards, (subset,), done, options)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        with pytest.raises(SystemExit):
            train(shards, (subset,), out, options)
    before = last_origin(out)
    assert before is not None and before.plan is not None
    run.take_down()
    counts = train(shards, (subset,), out, options).counted(TrainCounts)
    assert counts.pairs == before.plan.samples and counts.removed and counts.removed <= len(run.gone)
    assert {step: row for step, row in losses(out).items() if step <= 6} == {
        step: row for step, row in losses(whole).items() if step <= 6
    }
    with pytest.raises(InputError, match="done: done with another recipe or input: `shards` was"):
        train(shards, (subset,), done, options)
