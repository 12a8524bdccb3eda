"""`clipsieve compare` over evaluations: what is paired, what is refused, and what is written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.compare.page import write_page
from clipsieve.evaluation.compare.run import compare
from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.results.hits import read_hits
from clipsieve.evaluation.statistics.paired import paired_difference
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import EvaluateOptions

IMAGES = 60


@pytest.fixture
def evaluation(tmp_path):
    """Write an evaluation by hand: whether each image of a task of three classes is right, by the task's key."""

    def write(name, hits, gflops=None, **changed):
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        rows = []
        for key, right in hits.items():
            ranks = np.where(right, 0, 2)
            labels = np.arange(len(right)) % 3
            samples = {"id": [f"s{row:04d}" for row in range(len(right))], "label": labels, "rank": ranks}
            samples |= {"prediction": labels + ranks, "correct": ranks == 0}
            pq.write_table(pa.table(samples), folder / "samples" / f"{key}.parquet")
            row = {"key": key, "task": "zeroshot_classification", "metrics": {"acc1": float(np.mean(right))}}
            row |= {"samples": len(right), "preset": "openclip", "protocol": 2, "task_digest": "d", **changed}
            rows.append({**row, "training_gflops": gflops, "intervals": {}})
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)

    return write


def hits(share, seed=0):
    return np.random.default_rng(seed).random(IMAGES) < share


def test_a_difference_is_the_paired_bootstrap_of_the_samples(evaluation):
    ours, theirs = hits(0.8), hits(0.4)
    found = compare([evaluation("a", {"any": theirs}), evaluation("b", {"any": ours})])
    first, second = found.lines
    assert (found.baseline, first.model, first.difference, second.model) == ("a", "a", None, "b")
    expected = paired_difference(ours, theirs)
    assert second.difference
    assert second.difference.value == pytest.approx(expected.value)
    assert second.difference.low == pytest.approx(expected.low, abs=0.02)
    assert second.difference.p_value < 0.001


def test_another_preset_protocol_or_other_data_are_refused(evaluation):
    base = evaluation("a", {"any": hits(0.5)})
    for field, value in (("preset", "paper"), ("task_digest", "e"), ("protocol", 1), ("train_digest", "t")):
        other = evaluation(f"other-{field}", {"any": hits(0.5)}, **{field: value})
        with pytest.raises(InputError, match=rf"other-{field}/results.jsonl: task any: {field} is {value}"):
            compare([base, other])
    with pytest.raises(InputError, match="no task that all of a, c were evaluated on"):
        compare([base, evaluation("c", {"else": hits(0.5)})])
    with pytest.raises(InputError, match=r"nowhere/results.jsonl: no results there"):
        compare([base, "nowhere"])
    with pytest.raises(InputError, match="at least two"):
        compare([base])


def test_samples_that_do_not_give_the_result_are_refused(evaluation):
    base, other = (evaluation(name, {"any": hits(0.5)}) for name in "ab")
    path = Path(other) / "results.jsonl"
    path.write_text(path.read_text().replace('"acc1": 0.', '"acc1": 0.1'))
    with pytest.raises(InputError, match=r"any.parquet: its rows give 0.4"):
        compare([base, other])


def test_seeds_of_one_recipe_widen_the_interval(evaluation):
    """Two seeds each: their spread is far beyond that of the samples."""
    a = [evaluation(f"a{seed}", {"any": hits(share, seed)}) for seed, share in enumerate((0.2, 0.5))]
    b = [evaluation(f"b{seed}", {"any": hits(share, seed)}) for seed, share in enumerate((0.5, 0.8))]
    (_, grouped) = compare([",".join(a), ",".join(b)]).lines
    assert grouped.model == "b0+b1"
    assert grouped.value == pytest.approx((hits(0.5, 0).mean() + hits(0.8, 1).mean()) / 2)
    single = compare([a[0], b[0]]).lines[1]
    assert grouped.seed_deviation and grouped.difference and single.difference
    assert grouped.seed_deviation > 0.1 and single.seed_deviation is None
    assert grouped.difference.high - grouped.difference.low > 2 * (single.difference.high - single.difference.low)


def test_four_computes_give_a_scaling_fit_and_three_do_not(evaluation, tmp_path):
    folders = [
        evaluation(f"m{place}", {"any": np.arange(IMAGES) >= wrong}, gflops=10.0**place)
        for place, wrong in enumerate((48, 36, 30, 27))
    ]
    (scaling,) = compare(folders).scalings
    assert [name for name, *_ in scaling.points] == ["m0", "m1", "m2", "m3"]
    assert scaling.fit.predict(np.array([1.0, 1000.0])) == pytest.approx([0.8, 0.45], abs=0.02)
    assert compare(folders[:3]).scalings == ()


def test_robustness_is_told_of_four_models_with_imagenet(evaluation):
    folders = [
        evaluation(f"m{place}", {"imagenet1k": hits(share, 1), "imagenetv2": hits(share - 0.1, 2)})
        for place, share in enumerate((0.3, 0.45, 0.6, 0.75))
    ]
    (found,) = compare(folders).robustness
    assert (found.shift, len(found.points)) == ("imagenetv2", 4)
    for _, reference, shifted, effective in found.points:
        assert effective == pytest.approx(shifted - found.line.expected(np.array([reference]))[0])
    assert compare(folders[:3]).robustness == ()


def test_an_average_is_compared_where_all_its_tasks_are(evaluation):
    keys = ("imagenet-a", "imagenet-r", "imagenet_sketch", "imagenetv2", "objectnet", "imagenet_real")
    folders = [evaluation(name, {key: hits(share, 3) for key in keys}) for name, share in (("a", 0.3), ("b", 0.5))]
    lines = compare(folders).lines
    (average,) = [line for line in lines if line.result.startswith("ImageNet variants") and line.model == "b"]
    of_tasks = [line.difference for line in lines if line.result in keys and line.difference]
    assert average.difference
    assert average.difference.value == pytest.approx(np.mean([each.value for each in of_tasks]))
    widths = [each.high - each.low for each in of_tasks]
    assert average.difference.high - average.difference.low == pytest.approx(np.mean(widths) / np.sqrt(6), rel=0.1)


def test_mean_per_class_recall_is_over_classes(tmp_path, evaluation):
    right = np.arange(IMAGES) % 3 == 0
    folder = evaluation("a", {"any": right})
    rows = pq.read_table(f"{folder}/samples/any.parquet").slice(0, IMAGES - 2)  # class 1 and 2 have an image fewer
    pq.write_table(rows, f"{folder}/samples/any.parquet")
    found = read_hits(f"{folder}/samples", "any", "mean_per_class_recall", 1 / 3)
    assert found
    assert np.average(found.values, weights=found.weights) == pytest.approx(1 / 3)


def test_real_evaluations_are_compared_on_the_command_line(
    tmp_path, model_folder, learnable, noise_images, write_retrieval, command, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "160")
    captions = [[f"number {row}", f"<b>{row}</b>"][: 1 + row % 2] for row in range(8)]
    write_retrieval(tmp_path / "data" / "wds_drawn", noise_images(8), captions)
    options = EvaluateOptions(protocols=("zeroshot", "retrieval", "few_shot_5"), batch_size=8)
    first = run(model_folder, learnable, str(tmp_path / "first"), options)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    page = tmp_path / "page.html"
    ended = command("compare", tmp_path / "first", tmp_path / "second", "--page", page)
    assert ended.status == 0 and first.complete
    for key in ("shades", "drawn", "shades.few_shot_5"):
        assert key in ended.out
    assert ended.out.count("+0.00 to +0.00") == 8  # a model and itself: two classifications, six recalls
    text = page.read_text()
    assert "second against first" in text and not re.search(r"(src|href)=.?https?:", text)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert command("compare", tmp_path / "first").status == 2


def test_the_page_holds_names_as_text_and_is_the_same_for_the_same_data(evaluation, tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    folders = [
        evaluation(name, {"any": np.arange(IMAGES) >= wrong}, gflops=10.0 ** (9 + place))
        for place, (name, wrong) in enumerate(((hostile, 48), ("b", 36), ("c", 30), ("d", 27)))
    ]
    pages = []
    for name in ("first.html", "second.html"):
        write_page(compare(folders), str(tmp_path / name))
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]
    assert hostile not in pages[0] and "&lt;img src=x" in pages[0]
    assert pages[0].count("<circle") >= 4 and '<polygon class="band"' in pages[0]
