from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from evaluation.averages import AVERAGES, averages
from evaluation.catalogue import BY_SLUG, KNOWN
from evaluation.exports import datacomp_rows, model_names, write_exports


def row(key, value, task="zeroshot_classification"):
    if task == "zeroshot_retrieval":
        metrics = {"image_retrieval_recall@1": value, "text_retrieval_recall@1": value, "mean_recall@1": value}
    else:
        metrics = {"acc1": value, "acc5": None, "mean_per_class_recall": value}
    metrics["main_metric"] = value
    return {"key": key, "dataset": key, "task": task, "metrics": metrics, "model_digest": "0123456789abcdef" * 4}


def datacomps(rows):
    """What DataComp's ``aggregate_scores.py`` makes of a file of rows, less its count of 38."""
    text = "".join(json.dumps(each) + "\n" for each in rows)
    frame = pd.read_json(io.StringIO(text), lines=True)
    frame = pd.concat([frame.drop(["metrics"], axis=1), frame["metrics"].apply(pd.Series)], axis=1)
    frame = frame.dropna(subset=["main_metric"])
    return dict(zip(frame.dataset, frame.main_metric, strict=True))


def test_datacomps_aggregator_reads_every_task_under_its_own_title():
    rows = [
        row(known.slug, number / 64, "zeroshot_retrieval" if known.is_retrieval else "zeroshot_classification")
        for number, known in enumerate(KNOWN)
    ]
    read = datacomps(datacomp_rows([*rows, row("mine", 0.5)]))
    expected = {known.title: number / 64 for number, known in enumerate(KNOWN) if known.datacomp_key}
    assert read == pytest.approx(expected)
    shifts = {"ImageNet Sketch", "ImageNet v2", "ImageNet-A", "ImageNet-O", "ImageNet-R", "ObjectNet"}
    mean = np.mean([read[title] for title in shifts])
    assert averages(rows)["ImageNet dist. shifts (DataComp)"] == pytest.approx(mean)
    assert {"ImageNet 1k", "Flickr", "MSCOCO"} <= set(read)


def test_an_average_is_given_only_where_all_its_tasks_are_there():
    name = "ImageNet variants (Scaling Down CLIP)"
    rows = [row(key, 0.1 * place) for place, key in enumerate(AVERAGES[name])]
    assert averages(rows) == {name: pytest.approx(0.25)}
    assert averages(rows[1:]) == {}
    assert {key for keys in AVERAGES.values() for key in keys} <= set(BY_SLUG)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("open_clip:ViT-B-32@/weights/a.pt", ("ViT-B-32", "/weights/a.pt")),
        ("open_clip:ViT-B-32/openai", ("ViT-B-32", "openai")),
        ("run/models/top40", ("top40", "0123456789ab")),
    ],
)
def test_a_model_has_two_names(model, names):
    assert model_names(model, "0123456789abcdef" * 4) == names


def test_clip_benchmarks_files(tmp_path):
    rows = [row("vtab-pets", 0.5), row("drawn", 0.25, "zeroshot_retrieval")]
    write_exports(str(tmp_path), "open_clip:ViT-B-32@/weights/a.pt", rows)
    dumped = json.loads(
        (tmp_path / "clip_benchmark" / "vtab_pets_a.pt_ViT-B-32_en_zeroshot_classification.json").read_text()
    )
    assert dumped == {
        "dataset": "wds/vtab/pets",
        "model": "ViT-B-32",
        "pretrained": "/weights/a.pt",
        "task": "zeroshot_classification",
        "metrics": {"acc1": 0.5, "acc5": None, "mean_per_class_recall": 0.5},
        "language": "en",
    }
    table = list(csv.DictReader((tmp_path / "clip_benchmark" / "benchmark.csv").read_text().splitlines()))
    assert [each["dataset"] for each in table] == ["wds/vtab/pets", "wds/drawn"]
    assert (table[1]["text_retrieval_recall@1"], table[0]["acc5"]) == ("0.25", "")
    assert table[0]["model_fullname"] == "ViT-B-32 /weights/a.pt"
    assert json.loads((tmp_path / "averages.json").read_text()) == {}
