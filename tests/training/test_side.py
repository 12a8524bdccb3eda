"""Runs with other captions and with a teacher: what they train on, and what their manifests say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import present_manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.training import train


@pytest.fixture
def options(tower_file):
    return TrainOptions(tower=tower_file, samples=96, batch_size=12, warmup_steps=1, log_steps=1)


def losses(folder, column="loss"):
    return read_table(f"{folder}/{TRAIN_LOG_NAME}", TRAIN_LOG)[column].to_pylist()


@pytest.fixture
def texts(rows, tmp_path):
    """Of all pairs but one their own caption as `same`, and another as `other`."""
    known = [row for row in rows if row["status"] == "success"][1:]
    table = {
        "uid": [row["uid"] for row in known],
        "same": [row["caption"] for row in known],
        "other": [f"no {row['caption'].split()[-1]}" for row in known],
    }
    pq.write_table(pa.table(table), tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def test_a_run_trains_on_the_texts_of_the_table(shards, options, texts, tmp_path, capfd):
    """A table of the pairs' own captions changes nothing; one of others does, whatever the number of workers."""
    folders = {name: str(tmp_path / name) for name in ("own", "same", "other", "workers")}
    other = options.model_copy(update={"texts": (f"{texts}:other=0.5", "caption=0.5")})
    train.run(shards, (), folders["own"], options)
    train.run(shards, (), folders["same"], options.model_copy(update={"texts": (f"{texts}:same=1",)}))
    train.run(shards, (), folders["other"], other)
    train.run(shards, (), folders["workers"], other.model_copy(update={"workers": 3}))
    assert losses(folders["own"]) == losses(folders["same"]) != losses(folders["other"])
    assert losses(folders["other"]) == losses(folders["workers"])
    assert "1 of 46 pairs have no text in a table of --texts\n" in capfd.readouterr().err

    manifest, plain = (present_manifest(folders[name]) for name in ("other", "own"))
    assert manifest.counted(TrainCounts).without_text == 1 and plain.counted(TrainCounts).without_text is None
    assert {"texts 1 texts.parquet:other=0.5", "texts 2 caption=0.5"} <= manifest.inputs.keys()
    assert not Path(folders["other"], "side").exists()
    with pytest.raises(InputError, match=r"`texts 1 texts.parquet:other=0.5` was '.*', now None"):
        train.run(shards, (), folders["other"], options)


def test_a_run_learns_from_a_teacher(shards, options, rows, tmp_path):
    known = [row["uid"] for row in rows if row["status"] == "success"]
    (tmp_path / "scores").mkdir()
    pq.write_table(pa.table({"uid": known[2:]}), tmp_path / "scores" / "00000.parquet")
    values = np.random.default_rng(0).normal(size=(2, len(known) - 2, 8))
    image, text = (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float16)
    np.savez(tmp_path / "scores" / "00000.npz", img=image, txt=text)
    taught = options.model_copy(update={"teacher": str(tmp_path / "scores"), "teacher_weight": 1.0, "samples": 240})
    out = str(tmp_path / "model")
    train.run(shards, (), out, taught)
    assert losses(out) == losses(out, "teacher_loss")
    assert np.mean(losses(out)[-4:]) < np.mean(losses(out)[:4])
    manifest = present_manifest(out)
    assert manifest.counted(TrainCounts).without_teacher == 2 and len(manifest.inputs["teacher"]) == 64
    assert json.loads(Path(out, "manifest.json").read_text())["recipe"]["teacher_weight"] == 1


def test_texts_and_a_teacher_exclude_each_other():
    with pytest.raises(ValidationError, match="`teacher` has embeddings of the pairs' own captions: leave `texts` out"):
        TrainOptions(texts=("a.parquet:b=1",), teacher="scores")
