from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.evaluate import run
from schemas import manifest
from schemas.errors import InputError
from schemas.recipe import EvaluateOptions

NAMES = ("cat", "dog", "missile", "house", "tree")
OPTIONS = EvaluateOptions(tasks=(), batch_size=4)


@pytest.fixture
def data(tmp_path, noise_images, write_zero_shot, write_retrieval):
    folder = tmp_path / "data"
    write_zero_shot(folder / "wds_things", noise_images(10), [0, 1, 2, 3, 4] * 2, NAMES, shards=2)
    captions = [[f"a drawing of {row}", f"number {row}"][: 1 + row % 2] for row in range(12)]
    write_retrieval(folder / "wds_drawn_test", noise_images(12, seed=1), captions)
    return str(folder)


def rows_of(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def bytes_of(out):
    """Every file of an evaluation but the manifest, which holds times."""
    return {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "manifest.json"}


def test_an_evaluation_writes_what_its_contract_says(tmp_path, model_folder, data):
    out = tmp_path / "out"
    done = run(model_folder, data, str(out), OPTIONS)
    retrieval, zero_shot = rows_of(out)
    assert (zero_shot["key"], zero_shot["task"], zero_shot["samples"]) == (
        "things",
        "zeroshot_classification",
        10,
    )
    assert (retrieval["key"], retrieval["task"], retrieval["samples"]) == ("drawn", "zeroshot_retrieval", 12)
    assert set(zero_shot["metrics"]) == {"acc1", "acc5", "mean_per_class_recall", "main_metric"}
    for row in (zero_shot, retrieval):
        assert (row["preset"], row["protocol"]) == ("openclip", 1)
        for name, (low, high) in row["intervals"].items():
            assert 0 <= low <= row["metrics"][name] <= high <= 1
    samples = pq.read_table(out / "samples" / "things.parquet")
    assert np.mean(samples["correct"].to_pylist()) == zero_shot["metrics"]["acc1"]
    by_image = pq.read_table(out / "samples" / "drawn.images.parquet")["rank"].to_numpy()
    by_text = pq.read_table(out / "samples" / "drawn.texts.parquet")["rank"].to_numpy()
    assert (by_image < 5).mean() == retrieval["metrics"]["text_retrieval_recall@5"]
    assert (by_text < 5).mean() == retrieval["metrics"]["image_retrieval_recall@5"]
    assert (len(by_image), len(by_text)) == (12, 18)
    assert done.complete and done.counts == {"tasks": 2, "samples": 22}


def test_the_same_evaluation_has_the_same_bytes_and_is_not_done_twice(tmp_path, model_folder, data):
    first = run(model_folder, data, str(tmp_path / "a"), OPTIONS)
    second = run(model_folder, data, str(tmp_path / "b"), OPTIONS)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert first.digest == second.digest
    before = (tmp_path / "a" / "results.jsonl").stat().st_mtime_ns
    assert run(model_folder, data, str(tmp_path / "a"), OPTIONS) == first
    assert (tmp_path / "a" / "results.jsonl").stat().st_mtime_ns == before


def test_metrics_do_not_depend_on_the_batch_size(tmp_path, model_folder, data):
    for size in (1, 64):
        run(model_folder, data, str(tmp_path / str(size)), EvaluateOptions(tasks=(), batch_size=size))
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "64")


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path, model_folder, data):
    out = tmp_path / "out"
    done = run(model_folder, data, str(out), OPTIONS)
    whole = bytes_of(out)
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text(lines[0])
    (out / "samples" / "things.parquet").unlink()
    running = done.model_copy(update={"status": "running", "digest": None, "counts": {}, "finished_at": None})
    (out / "manifest.json").write_text(running.model_dump_json())
    kept = (out / "samples" / "drawn.texts.parquet").stat().st_mtime_ns
    again = run(model_folder, data, str(out), OPTIONS)
    assert bytes_of(out) == whole
    assert (again.digest, again.counts) == (done.digest, done.counts)
    assert (out / "samples" / "drawn.texts.parquet").stat().st_mtime_ns == kept


def test_another_recipe_or_other_data_is_refused(tmp_path, model_folder, data):
    out = str(tmp_path / "out")
    run(model_folder, data, out, EvaluateOptions(tasks=("things",)))
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["things"]
    with pytest.raises(InputError, match="tasks was"):
        run(model_folder, data, out, EvaluateOptions(tasks=("drawn",)))
    (Path(data) / "wds_things" / "classnames.txt").write_text("\n".join(reversed(NAMES)))
    with pytest.raises(InputError, match="data was"):
        run(model_folder, data, out, EvaluateOptions(tasks=("things",)))


def test_a_trained_folder_is_traced_by_its_manifest(tmp_path, model_folder, data):
    trained = tmp_path / "model"
    trained.mkdir()
    for path in Path(model_folder).iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    opened = manifest.begin(str(trained), "train", {}, {})
    with pytest.raises(InputError, match="train is not finished there"):
        run(str(trained), data, str(tmp_path / "out"), OPTIONS)
    manifest.finish(str(trained), opened, {}, "weights-digest")
    assert run(str(trained), data, str(tmp_path / "out"), OPTIONS).inputs["model"] == "weights-digest"


def test_an_image_that_cannot_be_decoded_is_named_and_what_is_done_is_kept(
    tmp_path, model_folder, data, noise_images, write_zero_shot
):
    images = [*noise_images(1), noise_images(1)[0][:300]]
    write_zero_shot(Path(data) / "wds_worse", images, [0, 1], NAMES)
    with pytest.raises(InputError, match=r"wds_worse/test/0\.tar: sample s0000001: not a readable image"):
        run(model_folder, data, str(tmp_path / "out"), OPTIONS)
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["drawn", "things"]


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, data):
    command = [sys.executable, "-m", "evaluation.evaluate", "--data", data, "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--model", str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert done.stderr.startswith(f"evaluate: {tmp_path}/none: not a model")
    assert not (tmp_path / "out").exists()
