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
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(out): path.read_bytes() for path in paths}


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
        assert (row["preset"], row["protocol"]) == ("openclip", 2)
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
    first, second = (bytes_of(tmp_path / size) for size in ("1", "64"))
    assert {path for path in first if first[path] != second[path]} <= {path for path in first if path.suffix == ".npy"}


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
    with pytest.raises(InputError, match="data things was"):
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


def test_what_is_wrong_with_a_task_stops_that_task_alone(
    tmp_path, model_folder, data, noise_images, write_zero_shot, command
):
    images = [*noise_images(1), noise_images(1)[0][:300]]
    write_zero_shot(Path(data) / "wds_undecodable", images, [0, 1], NAMES)
    write_zero_shot(Path(data) / "wds_truncated", noise_images(2), [0, 1], NAMES)
    tar = Path(data) / "wds_truncated" / "test" / "0.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:3000])
    arguments = ["evaluate", "--model", model_folder, "--data", data, "--out", tmp_path / "out"]
    ended = command(*arguments)
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["drawn", "things"]
    assert ended.status == 1
    *_, first, second, last = ended.err.splitlines()
    assert first.startswith(f"evaluate: truncated: failed: {tar}: not a readable tar")
    assert "undecodable: failed: " in second and "0.tar: sample s0000001: not a readable image" in second
    assert "2 of 4 tasks failed (truncated, undecodable)" in last
    tar.write_bytes(whole)
    write_zero_shot(tmp_path / "mended", noise_images(2), [0, 1], NAMES)
    (tmp_path / "mended" / "test" / "0.tar").replace(Path(data) / "wds_undecodable" / "test" / "0.tar")
    assert command(*arguments).status == 0
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["drawn", "things", "truncated", "undecodable"]


def test_one_set_of_features_serves_every_question_and_evaluation(tmp_path, model_folder, data):
    cache = tmp_path / "cache"
    run(model_folder, data, str(tmp_path / "a"), OPTIONS, str(cache))
    made = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(made) == 4  # two sets of images, with and without the projection
    other = EvaluateOptions(tasks=(), prompts="name", batch_size=4)
    run(model_folder, data, str(tmp_path / "b"), other, str(cache))
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == made
    first, second = (rows_of(tmp_path / name)[1] for name in "ab")
    assert first["images_digest"] == second["images_digest"]
    assert first["prompts_digest"] != second["prompts_digest"]


def test_names_may_stand_in_one_word_and_unknown_ones_are_refused(tmp_path, model_folder, data):
    assert EvaluateOptions(tasks="things,drawn").tasks == ("things", "drawn")
    with pytest.raises(InputError, match="no task 'other' there"):
        run(model_folder, data, str(tmp_path / "out"), EvaluateOptions(tasks=("other",)))
    with pytest.raises(InputError, match="protocols: 'guess' is not one of zeroshot, retrieval"):
        run(model_folder, data, str(tmp_path / "out"), EvaluateOptions(protocols=("guess",)))
    assert not (tmp_path / "out").exists()


def test_the_cost_of_training_is_in_every_row(tmp_path, model_folder, data):
    trained = tmp_path / "model"
    trained.mkdir()
    for path in Path(model_folder).iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    opened = manifest.begin(str(trained), "train", {}, {})
    counts = {"samples_seen": 1000, "image_macs": 3_000_000, "text_macs": 1_000_000}
    manifest.finish(str(trained), opened, counts, "weights-digest")
    run(str(trained), data, str(tmp_path / "out"), OPTIONS)
    row = rows_of(tmp_path / "out")[0]
    assert (row["samples_seen"], row["forward_gmacs"], row["training_gflops"]) == (1000, 0.004, 24.0)


def test_the_paper_preset_is_another_protocol(tmp_path, model_folder, data):
    run(model_folder, data, str(tmp_path / "a"), OPTIONS)
    run(model_folder, data, str(tmp_path / "b"), EvaluateOptions(preset="paper"))
    first, second = (rows_of(tmp_path / name)[1] for name in "ab")
    assert (first["preset"], second["preset"]) == ("openclip", "paper")
    assert first["prompts_digest"] != second["prompts_digest"]


def test_ranks_that_share_the_images_get_the_same_results(tmp_path, model_folder, data):
    """Two processes that torchrun starts, against one."""
    run(model_folder, data, str(tmp_path / "one"), OPTIONS)
    arguments = [
        "evaluate",
        "--model",
        model_folder,
        "--data",
        data,
        "--out",
        str(tmp_path / "two"),
        "--batch-size",
        "4",
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "clipsieve"]
    done = subprocess.run([sys.executable, *torchrun, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
    for path in (tmp_path / "one" / "features").iterdir():
        shared = np.load(tmp_path / "two" / "features" / path.name)
        np.testing.assert_allclose(shared, np.load(path), atol=1e-5)
    assert len(list((tmp_path / "two" / "features").iterdir())) == 4


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, data, command):
    ended = command("evaluate", "--data", data, "--out", tmp_path / "out", "--model", tmp_path / "none")
    assert ended.status == 2
    assert ended.err.startswith(f"clipsieve: {tmp_path}/none: not a model")
    assert not (tmp_path / "out").exists()
    assert "--model and --out are needed, or --list" in command("evaluate", "--data", data).err


def test_the_list_says_what_is_found(data, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ended = command("evaluate", "--list", "--data", data)
    assert ended.status == 0
    lines = ended.out.splitlines()
    things = next(line for line in lines if "things" in line)
    assert "wds_things (tar files)" in things
    objectnet = next(line for line in lines if "objectnet" in line)
    assert "18,574 images, 113 classes" in objectnet and "not found" in objectnet and "objectnet.dev" in objectnet
