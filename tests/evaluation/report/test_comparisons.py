"""Paired differences of models against what their per-sample files say by hand."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.report.comparisons import compare
from clipsieve.evaluation.report.models import read_models
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.run import read_run


def test_a_model_is_compared_with_the_one_trained_alike_on_all(finished_run):
    comparisons = _compare(finished_run)
    assert [(c.model.name, c.baseline.name, c.result.task, c.result.metric) for c in comparisons] == [
        ("top40", "all", "captions", "text_retrieval_recall@1"),
        ("top40", "all", "captions", "image_retrieval_recall@1"),
        ("top40", "all", "shapes", "acc1"),
    ]
    for comparison in comparisons:  # 6 of 40 images turn from wrong to right, with both of their captions
        difference = comparison.difference
        assert difference.value == pytest.approx(6 / 40)
        normal = 1.96 * np.sqrt(0.15 * 0.85 / 40)
        assert difference.low == pytest.approx(0.15 - normal, abs=0.026)
        assert difference.high == pytest.approx(0.15 + normal, abs=0.026)
        assert comparison.is_clear


def test_captions_are_counted_one_by_one_but_resampled_with_their_image(run_dir):
    """Image 0 has three captions, the others one: its captions are three of six."""
    for name, first in (("all", [1, 1, 1]), ("top40", [0, 0, 1])):
        ids, ranks = ["a", "a", "a", "b", "c", "d"], [*first, 0, 1, 1]
        rows = {"id": ids, "caption_index": [0, 1, 2, 0, 0, 0], "rank": ranks}
        folder = run_dir / "evaluations" / name
        pq.write_table(pa.table(rows), folder / "samples" / "captions.texts.parquet")
        _set_metric(folder, "image_retrieval_recall@1", ranks.count(0) / 6)
    comparison = _compare(run_dir)[1]
    assert comparison.difference.value == pytest.approx(2 / 6)
    assert not comparison.is_clear  # one image of four decides it: a draw without it shows no difference
    assert comparison.difference.low == 0


def test_another_recipe_or_other_samples_are_not_compared(run_dir):
    ids = pq.read_table(run_dir / "evaluations/all/samples/shapes.parquet")
    other = ids.set_column(0, "id", pa.array([f"t{number}" for number in range(40)]))
    pq.write_table(other, run_dir / "evaluations/all/samples/shapes.parquet")
    (run_dir / "evaluations/all/samples/captions.texts.parquet").unlink()
    assert [c.result.metric for c in _compare(run_dir)] == ["text_retrieval_recall@1"]
    path = run_dir / "models/all/manifest.json"
    content = json.loads(path.read_text())
    content["recipe"]["seed"] = 1
    path.write_text(json.dumps(content))
    assert _compare(run_dir) == ()


def test_samples_that_do_not_give_the_result_are_refused(run_dir):
    _set_metric(run_dir / "evaluations" / "top40", "acc1", 0.5)
    with pytest.raises(InputError, match=r"shapes.parquet: its rows give 0.4 for acc1, results.jsonl says 0.5"):
        _compare(run_dir)


def test_a_model_that_is_not_finished_is_left_out(run_dir):
    path = run_dir / "models/top40/manifest.json"
    path.write_text(path.read_text().replace('"complete"', '"running"'))
    assert [model.name for model in read_models(read_run(str(run_dir)))] == ["all"]


def test_a_damaged_log_is_named(run_dir):
    (run_dir / "models/all/log.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"models/all/log.parquet: not a readable Parquet file"):
        _compare(run_dir)


def _compare(run_dir):
    return compare(read_models(read_run(str(run_dir))))


def _set_metric(evaluation, metric, value):
    path = evaluation / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if metric in row["metrics"]:
            row["metrics"][metric] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
