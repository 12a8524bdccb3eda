"""Runs whose data changed while they were stopped: pairs may go, and nothing else may."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from clipsieve.schemas.errors import InputError, SignalError
from clipsieve.schemas.manifest import present_manifest
from clipsieve.schemas.options import PlanOptions, TrainOptions
from clipsieve.training.checkpoint import last_origin
from clipsieve.training.data import plan as planning
from clipsieve.training.train import run
from tests.training.terminal import Terminal
from tests.training.test_train import losses


def mark_of(out):
    """The origin of the last checkpoint, and the mark of its plan."""
    origin = last_origin(out)
    assert origin is not None and origin.plan is not None
    return origin, origin.plan


@pytest.fixture
def options(tower_file):
    return TrainOptions(tower=tower_file, samples=120, batch_size=12, warmup_steps=2, log_steps=1, checkpoint_steps=4)


@pytest.fixture
def stopped(monkeypatch):
    """Train until after step 6, as a run that SIGTERM stops."""

    def train(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
            with pytest.raises(SignalError):
                run(*arguments)

    return train


def test_a_tar_that_is_lost_is_named_before_a_step_is_taken(shards, options, stopped, tmp_path):
    folder, out = str(shutil.copytree(shards, tmp_path / "shards")), str(tmp_path / "model")
    stopped(folder, (), out, options)
    before = losses(out)
    Path(folder, "00001.tar").rename(tmp_path / "kept.tar")
    with pytest.raises(InputError, match="half done with another recipe or input: `shards` was"):
        run(folder, (), out, options)
    with pytest.raises(InputError, match=r"the tar of 1 shards is missing, the first 00001\.tar"):
        run(folder, (), str(tmp_path / "new"), options)
    assert losses(out) == before and not (tmp_path / "new").exists()
    (tmp_path / "kept.tar").rename(Path(folder, "00001.tar"))
    assert run(folder, (), out, options).complete


def test_an_opt_out_list_that_grew_leaves_its_pairs_out_from_there_on(shards, rows, options, stopped, tmp_path):
    whole, out = str(tmp_path / "whole"), str(tmp_path / "model")
    run(shards, (), whole, options)
    stopped(shards, (), out, options)
    _, began = mark_of(out)
    listed = tmp_path / "wishes.txt"
    listed.write_text("".join(f"{row['uid']}\n" for row in rows[:3]))
    stopped_again = options.model_copy(update={"samples": 120})
    manifest = run(shards, (), out, stopped_again, str(listed))
    assert {step: values for step, values in losses(out).items() if step <= 7} == {
        step: values for step, values in losses(whole).items() if step <= 7
    }
    assert any(losses(out)[step] != losses(whole)[step] for step in (8, 9, 10))
    assert manifest.counts.shown["removed"] == 3 and manifest.counts.shown["pairs"] == began.samples == 46
    assert present_manifest(out).inputs["opt_out"]
    with pytest.raises(InputError, match="done with another recipe or input: `opt_out` was"):
        run(shards, (), out, options)


def test_a_checkpoint_says_what_was_lost_and_the_list_may_grow_again(shards, rows, options, stopped, tmp_path):
    out, listed = str(tmp_path / "model"), tmp_path / "wishes.txt"
    long = options.model_copy(update={"samples": 240})
    stopped(shards, (), out, long)
    _, first = mark_of(out)
    digests = []
    for count in (1, 2):
        listed = tmp_path / f"wishes{count}.txt"
        listed.write_text("".join(f"{row['uid']}\n" for row in rows[:count]))
        step = 6 + 5 * count
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
            with pytest.raises(SignalError):
                run(shards, (), out, long, str(listed))
        origin, mark = mark_of(out)
        digests.append(origin.inputs["opt_out"])
        assert (mark.digest, mark.samples) == (first.digest, 46) and mark.gone == count
    assert origin.lost_pairs == {"opt_out": [None, digests[0]]}
    with pytest.raises(InputError, match="half done with another recipe or input: `opt_out` was"):
        run(shards, (), out, long)


def test_a_run_takes_the_plan_that_it_is_given_and_no_other(shards, rows, options, tmp_path):
    plan, windowed, out = (str(tmp_path / name) for name in ("plan", "windowed", "model"))
    planning.run(shards, (), plan, PlanOptions())
    made = Path(plan, "rows.npy").stat().st_mtime_ns
    own = run(shards, (), str(tmp_path / "own"), options)
    assert run(shards, (), out, options, None, plan).digest == own.digest
    assert not Path(out, "plan").exists() and Path(plan, "rows.npy").stat().st_mtime_ns == made
    planning.run(shards, (), windowed, PlanOptions(order="window"))
    with pytest.raises(InputError, match="windowed: made from another `order`: 'window', not 'global'; make the plan"):
        run(shards, (), str(tmp_path / "other"), options, None, windowed)
    listed = tmp_path / "wishes.txt"
    listed.write_text(f"{rows[0]['uid']}\n")
    with pytest.raises(InputError, match="plan: made from another `opt_out`: None, not "):
        run(shards, (), str(tmp_path / "other"), options, str(listed), plan)
    with pytest.raises(InputError, match=r"nothing: no plan \(plan.json\) in this folder"):
        run(shards, (), str(tmp_path / "other"), options, None, str(tmp_path / "nothing"))
    assert not (tmp_path / "other").exists()


def test_a_run_whose_plan_is_gone_makes_it_again_and_is_refused_where_it_is_another(
    shards, rows, options, stopped, tmp_path
):
    out, plan, listed = str(tmp_path / "model"), str(tmp_path / "plan"), tmp_path / "wishes.txt"
    digest = run(shards, (), str(tmp_path / "whole"), options).digest
    planning.run(shards, (), plan, PlanOptions())
    listed.write_text(f"{rows[0]['uid']}\n")
    stopped(shards, (), out, options)
    copy = shutil.copytree(out, tmp_path / "copy")
    for folder in (out, copy):
        shutil.rmtree(Path(folder, "plan"))
    assert run(shards, (), out, options).digest == digest
    with pytest.raises(InputError, match=r"made with another plan, of 46 samples, now of 45: .* give the run's own by"):
        run(shards, (), str(copy), options, str(listed))
    assert run(shards, (), str(copy), options, str(listed), plan).counts.shown["removed"] == 1


def test_windows_train_as_their_order_says_whatever_the_workers(shards, options, stopped, tmp_path):
    windowed = options.model_copy(update={"order": "window", "window_shards": 2})
    digest = run(shards, (), str(tmp_path / "one"), windowed).digest
    assert run(shards, (), str(tmp_path / "three"), windowed.model_copy(update={"workers": 3})).digest == digest
    stopped(shards, (), str(tmp_path / "stopped"), windowed)
    assert run(shards, (), str(tmp_path / "stopped"), windowed).digest == digest
    assert run(shards, (), str(tmp_path / "global"), options).digest != digest
