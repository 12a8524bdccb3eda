"""Evaluation during a run, on tasks and held-out pairs: it finds what the exported model has, and changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from clipsieve.evaluation import evaluate
from clipsieve.evaluation.in_training import task_evaluator
from clipsieve.schemas.errors import InputError, SignalError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.models import load_model
from clipsieve.schemas.options import EvaluateOptions, TrainOptions
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.shards import list_shards, tar_of
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.training import saving
from clipsieve.training.export import export_checkpoint
from clipsieve.training.train import run
from tests.commands import torchrun
from tests.training.terminal import Terminal

ACCURACY, LOSS = "evaluate/colours/acc1", "validation_loss"
HELD_OUT = 10


@pytest.fixture
def subsets(rows, tmp_path):
    """Files of the pairs to train on and of those that are held out; the latter's rows."""
    there = [row for row in rows if row["status"] == "success"]
    for name, part in (("trained", there[HELD_OUT:]), ("held-out", there[:HELD_OUT])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{row['uid']}\n" for row in part))
    return str(tmp_path / "trained.txt"), str(tmp_path / "held-out.txt"), there[:HELD_OUT]


@pytest.fixture
def tasks(tmp_path):
    """A folder with a task of two classes, of noise in two colours."""
    rng = np.random.default_rng(0)
    for name, colour in (("a red square", (220, 20, 20)), ("a blue square", (20, 20, 220))):
        (tmp_path / "tasks" / "colours" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(np.array(colour) + rng.normal(0, 60, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tasks" / "colours" / name / f"{number}.png")
    return str(tmp_path / "tasks")


@pytest.fixture
def options(tower_file, tasks, subsets):
    """Ten steps of 12, of which every third is looked at."""
    return TrainOptions(
        tower=tower_file,
        samples=120,
        batch_size=12,
        warmup_steps=2,
        learning_rate=1e-2,
        log_steps=4,
        checkpoint_steps=3,
        augment="crop_flip",
        evaluate_steps=3,
        evaluate_tasks=tasks,
        validation=subsets[1],
    )


def train(shards, subsets, out, options):
    return run(shards, [subsets[0]], str(out), options, evaluate=task_evaluator(options.evaluate_tasks))


def rows_of(out):
    return {row["step"]: row for row in read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()}


def validation_loss_of(folder, shards, held_out):
    """CLIP's loss of the model in a folder, over the held-out pairs as one batch."""
    loaded = load_model(folder)
    model: Any = loaded.model
    found = {
        s.key: (s, tar) for name in list_shards(shards) for tar in [tar_of(shards, name)] for s in iter_samples(tar)
    }
    samples = [found[row["key"]] for row in held_out]
    with torch.inference_mode():
        images = torch.stack([loaded.preprocess(decode_sample(sample, tar)) for sample, tar in samples])
        image = model.encode_image(images, normalize=True)
        text = model.encode_text(loaded.tokenizer([sample.caption for sample, _ in samples]), normalize=True)
        logits = model.logit_scale.exp() * image @ text.T
        own = torch.arange(len(logits))
        return ((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2).item()


def test_training_does_not_notice_that_it_is_looked_at(shards, subsets, options, tmp_path):
    alone = options.model_copy(update={"evaluate_steps": None, "evaluate_tasks": None, "validation": None})
    seen, unseen = (train(shards, subsets, tmp_path / name, o) for name, o in (("seen", options), ("unseen", alone)))
    assert seen.digest == unseen.digest
    rows, others = rows_of(tmp_path / "seen"), rows_of(tmp_path / "unseen")
    assert sorted(rows) == [3, 4, 6, 8, 9, 10] and sorted(others) == [4, 8, 10]
    for step, row in others.items():
        assert all(row[name] == rows[step][name] for name in ("loss", "grad_norm", "logit_scale"))
    for name in (ACCURACY, LOSS):
        assert [step for step, row in rows.items() if row[name] is not None] == [3, 6, 9, 10]


def test_what_is_found_is_what_the_exported_model_has(shards, subsets, options, tasks, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(saving, "kept_of", set)  # no checkpoint is removed
        terminal = Terminal(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr(sys, "stderr", terminal)
        with pytest.raises(SignalError):
            train(shards, subsets, tmp_path / "run", options)
    model = str(tmp_path / "model")
    export_checkpoint(str(tmp_path / "run"), model, 6)
    evaluate.run(model, tasks, str(tmp_path / "results"), EvaluateOptions())
    (result,) = map(json.loads, (tmp_path / "results" / "results.jsonl").read_text().splitlines())
    row = rows_of(tmp_path / "run")[6]
    assert row[ACCURACY] == result["metrics"]["acc1"]
    assert row[LOSS] == pytest.approx(validation_loss_of(model, shards, subsets[2]), rel=1e-5)
    assert f"{LOSS} {row[LOSS]:.4f}  {ACCURACY} {row[ACCURACY]:.4f}  left " in terminal.getvalue()


def test_two_processes_find_what_one_does(shards, subsets, tower_file, tmp_path, status_of):
    arguments = ["--shards", shards, "--subset", subsets[0], "--tower", tower_file, "--samples", "36"]
    arguments += ["--batch-size", "12", "--warmup-steps", "1", "--evaluate-steps", "2", "--validate", subsets[1]]
    two = subprocess.run([*torchrun(2), "train", *arguments, "--out", str(tmp_path / "two")], capture_output=True)
    assert two.returncode == 0, two.stderr
    assert status_of("train", *arguments, "--out", str(tmp_path / "one")) == 0
    found = [[row[LOSS] for row in rows_of(tmp_path / name).values()] for name in ("one", "two")]
    assert found[1] == pytest.approx(found[0], rel=1e-2) and len(found[0]) == 2


def test_held_out_pairs_may_not_be_trained_on(shards, subsets, options, rows, tmp_path):
    shared = tmp_path / "shared.txt"
    shared.write_text(Path(subsets[1]).read_text() + Path(subsets[0]).read_text()[:66])
    with pytest.raises(InputError, match=r"`validation` .*: 2 of its 12 pairs are trained on, by .*trained.txt"):
        train(shards, subsets, tmp_path / "out", options.model_copy(update={"validation": str(shared)}))
    with pytest.raises(InputError, match=r"`validation` .*: the run trains on every pair of its shards"):
        run(shards, (), str(tmp_path / "out"), options, evaluate=lambda _: {})
    assert not (tmp_path / "out").exists()


def test_an_evaluation_that_fails_ends_no_run(shards, subsets, options, tmp_path, capsys):
    def fail(_):
        raise InputError("tasks/colours: cannot be read")

    manifest = run(shards, [subsets[0]], str(tmp_path / "out"), options, evaluate=fail)
    assert manifest.complete
    assert "step 3 is not evaluated, and training goes on: tasks/colours: cannot be read\n" in capsys.readouterr().err


def test_a_request_to_stop_ends_an_evaluation(shards, subsets, options, tmp_path):
    def stop(_):
        os.kill(os.getpid(), signal.SIGTERM)
        return pytest.fail("the evaluation went on")

    with pytest.raises(SignalError, match=r"step 4 of 10 is saved"):
        run(shards, [subsets[0]], str(tmp_path / "out"), options, evaluate=stop)


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (["--evaluate-tasks", "builtin"], "`evaluate_tasks` needs `evaluate_steps`"),
        (["--evaluate-steps", "5"], "`evaluate_steps` needs `evaluate_tasks`, `validation` or both"),
        (["--evaluate-steps", "5", "--evaluate-tasks", "builtin=cifar10"], "builtin: no task 'cifar10' there"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(command, shards, tmp_path, flags, complaint):
    named = {"evaluate_tasks": "--evaluate-tasks", "evaluate_steps": "--evaluate-steps", "validation": "--validate"}
    for field, flag in named.items():
        complaint = complaint.replace(f"`{field}`", flag)
    ended = command("train", "--shards", shards, "--out", str(tmp_path / "out"), *flags)
    assert ended.status == 2 and complaint in ended.err
