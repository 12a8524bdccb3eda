from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.datasets.catalogue import KNOWN
from clipsieve.evaluation.evaluate import run
from clipsieve.schemas import manifest
from clipsieve.schemas.counts import Counts, TrainCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import EvaluateOptions, TrainOptions

NAMES = ("cat", "dog", "missile", "house", "tree")
OPTIONS = EvaluateOptions(tasks=(), batch_size=4)
_TIMES = re.compile(rb'"(started|finished)_at": "[^"]*"')


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
    """Every file of an evaluation, by its place in it; of the manifest all but its times."""
    found = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    found[Path("manifest.json")] = _TIMES.sub(b"", found[Path("manifest.json")])
    return found


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
    assert done.complete and done.counts.shown == {"tasks": 2, "samples": 22}


def test_the_same_evaluation_has_the_same_bytes_but_for_times(tmp_path, model_folder, data, learnable):
    options = EvaluateOptions(protocols=("zeroshot", "retrieval", "few_shot_5", "linear_probe"), batch_size=4)
    first, second = (run(model_folder, data, str(tmp_path / name), options) for name in "ab")
    files = bytes_of(tmp_path / "a")
    assert files == bytes_of(tmp_path / "b")
    assert first.digest == second.digest
    kinds = {path.suffix for path in files}
    assert kinds == {".json", ".jsonl", ".parquet", ".html", ".csv", ".npy"} and len(files) > 20


def test_a_complete_evaluation_is_not_done_again(tmp_path, model_folder, data):
    done = run(model_folder, data, str(tmp_path / "out"), OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert run(model_folder, data, str(tmp_path / "out"), OPTIONS) == done
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path, model_folder, data):
    out = tmp_path / "out"
    done = run(model_folder, data, str(out), OPTIONS)
    whole = bytes_of(out)
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text(lines[0])
    (out / "samples" / "things.parquet").unlink()
    running = done.model_copy(update={"status": "running", "digest": None, "counts": Counts(), "finished_at": None})
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
    with pytest.raises(InputError, match="`tasks` was"):
        run(model_folder, data, out, EvaluateOptions(tasks=("drawn",)))
    (Path(data) / "wds_things" / "classnames.txt").write_text("\n".join(reversed(NAMES)))
    with pytest.raises(InputError, match="`data things` was"):
        run(model_folder, data, out, EvaluateOptions(tasks=("things",)))


def test_a_trained_folder_is_traced_by_its_manifest(tmp_path, model_folder, data):
    trained = tmp_path / "model"
    trained.mkdir()
    for path in Path(model_folder).iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    opened = manifest.begin(str(trained), TrainOptions(), {})
    with pytest.raises(InputError, match="train is not finished there"):
        run(str(trained), data, str(tmp_path / "out"), OPTIONS)
    manifest.finish(str(trained), opened, Counts(), "weights-digest")
    assert run(str(trained), data, str(tmp_path / "out"), OPTIONS).inputs["model"] == "weights-digest"


def test_what_is_wrong_with_a_task_stops_that_task_alone(
    tmp_path, model_folder, data, noise_images, write_zero_shot, write_task, command
):
    """A missing image, one that is cut off, a truncated tar, a wrong count, a class name too many."""
    images, root = noise_images(2), Path(data)
    texts = {"classnames": "cat\ndog\n", "zeroshot_classification_templates": "{c}\n"}
    write_task(root / "wds_missing", [("a", {"png": images[0], "cls": b"0"}), ("b", {"cls": b"1"})], **texts)
    write_zero_shot(root / "wds_undecodable", [images[0], images[1][:300]], [0, 1], NAMES)
    truncated = write_zero_shot(root / "wds_truncated", images, [0, 1], NAMES) / "test" / "0.tar"
    whole = truncated.read_bytes()
    truncated.write_bytes(whole[:3000])
    write_zero_shot(root / "wds_cifar10", images, [0, 1], [f"class {number}" for number in range(10)])
    kitti = "vtab-kitti_closest_vehicle_distance"
    write_zero_shot(root / f"wds_{kitti}", images[:1] * 711, [0] * 711, NAMES)
    arguments = ["evaluate", "--model", model_folder, "--data", data, "--out", tmp_path / "out"]
    ended = command(*arguments)
    assert ended.status == 1
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["drawn", "things"]
    *_, cifar10, missing, cut, distance, undecodable, last = ended.err.splitlines()
    assert cifar10.startswith(f"evaluate: cifar10: failed: {root}/wds_cifar10: 2 images, but CIFAR-10 has 10,000; get")
    assert missing.startswith(f"evaluate: missing: failed: {root}/wds_missing/test/0.tar: sample b: no image member")
    assert cut.startswith(f"evaluate: truncated: failed: {truncated}: not a readable tar")
    assert distance.endswith(f"{kitti}: 5 class names, but KITTI Vehicle Distance has 4 classes")
    assert undecodable.startswith("evaluate: undecodable: failed: ")
    assert "0.tar: sample s0000001: the image cannot be decoded (" in undecodable
    assert "5 of 7 tasks failed (cifar10, missing, truncated," in last
    truncated.write_bytes(whole)
    write_zero_shot(tmp_path / "fixed", images, [0, 1], NAMES)
    (tmp_path / "fixed" / "test" / "0.tar").replace(root / "wds_undecodable" / "test" / "0.tar")
    assert "3 of 7 tasks failed" in command(*arguments).err
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["drawn", "things", "truncated", "undecodable"]


def test_no_fault_of_a_task_is_more_than_that_tasks(
    tmp_path, model_folder, data, noise_images, write_zero_shot, command
):
    """Two folders of one task, a column of another kind than it should be, and an image that is no bytes."""
    root = Path(data)
    for name in ("wds_twin", "wds_twin_test"):
        write_zero_shot(root / name, noise_images(2), [0, 1], NAMES)
    for name, captions in (("numbers", [1, 2]), ("nested", [[["a"]], [["b"]]]), ("structs", [{"a": 1}, {"a": 2}])):
        pq.write_table(pa.table({"image": noise_images(2), "captions": captions}), root / f"{name}.parquet")
    pq.write_table(pa.table({"image": [1, 2], "label": ["a", "b"]}), root / "integers.parquet")
    pq.write_table(pa.table({"image": noise_images(2), "label": [[0], [1]]}), root / "lists.parquet")
    ended = command("evaluate", "--model", model_folder, "--data", data, "--out", tmp_path / "out")
    assert (ended.status, [row["key"] for row in rows_of(tmp_path / "out")]) == (1, ["drawn", "things"])
    *_, last = ended.err.splitlines()
    assert "6 of 8 tasks failed" in last
    assert all(name in last for name in ("twin", "numbers", "nested", "structs", "integers", "lists"))
    assert "wds_twin and wds_twin_test are one task; remove one" in ended.err
    assert "Traceback" not in ended.err


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
    with pytest.raises(InputError, match="`protocols`: 'guess' is not one of zeroshot, retrieval"):
        run(model_folder, data, str(tmp_path / "out"), EvaluateOptions(protocols=("guess",)))
    assert not (tmp_path / "out").exists()


def test_the_cost_of_training_is_in_every_row(tmp_path, model_folder, data):
    trained = tmp_path / "model"
    trained.mkdir()
    for path in Path(model_folder).iterdir():
        (trained / path.name).write_bytes(path.read_bytes())
    opened = manifest.begin(str(trained), TrainOptions(), {})
    counts = TrainCounts(
        pairs=10,
        samples_seen=1000,
        unique_samples=10,
        steps=1,
        parameters=1,
        image_macs=3_000_000,
        text_macs=1_000_000,
    )
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


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, data, command):
    ended = command("evaluate", "--data", data, "--out", tmp_path / "out", "--model", tmp_path / "none")
    assert ended.status == 2
    assert ended.err.startswith(f"clipsieve: {tmp_path}/none: not a model")
    assert not (tmp_path / "out").exists()
    assert "--model and --out are needed, or --list" in command("evaluate", "--data", data).err


def test_the_list_says_what_is_found_and_where_the_rest_is_had(tmp_path, data, noise_images, write_zero_shot, command):
    write_zero_shot(Path(data) / "wds_cifar10_test", noise_images(2), [0, 1], NAMES)
    ended = command("evaluate", "--list", "--data", data)
    assert ended.status == 0
    here, missing = ended.out.split("\n\n")
    lines = here.splitlines()
    assert lines[0] == f"In {data}:" and len(lines) == 7
    assert lines[1].split() == ["cifar10", "10,000", "images,", "10", "classes"]
    assert lines[2].strip() == "wds_cifar10_test (tar files, no training split)"
    assert lines[6].strip() == "wds_things (tar files, no training split)"
    head, *lines = missing.splitlines()
    assert head.startswith(f"Not in {data}.") and "wds_TASK" in head
    asked, where = zip(*zip(lines[::2], lines[1::2], strict=True), strict=True)
    assert [line.split()[0] for line in asked] == [known.slug for known in KNOWN if known.slug != "cifar10"]
    place = [line.split()[0] for line in asked].index("objectnet")
    assert asked[place].endswith("18,574 images, 113 classes") and "objectnet.dev" in where[place]
