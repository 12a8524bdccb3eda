from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest

from clipsieve.evaluation.datasets.catalogue import BY_SLUG, KNOWN
from clipsieve.evaluation.results.averages import AVERAGES, averages
from clipsieve.evaluation.results.exports import model_names, write_exports

DATACOMP_GROUPS = {
    "ImageNet dist. shifts": (
        "ImageNet Sketch",
        "ImageNet v2",
        "ImageNet-A",
        "ImageNet-O",
        "ImageNet-R",
        "ObjectNet",
    ),
    "VTAB": (
        "Caltech-101",
        "CIFAR-100",
        "CLEVR Counts",
        "CLEVR Distance",
        "Describable Textures",
        "EuroSAT",
        "KITTI Vehicle Distance",
        "Oxford Flowers-102",
        "Oxford-IIIT Pet",
        "PatchCamelyon",
        "RESISC45",
        "SVHN",
        "SUN397",
    ),
    "Retrieval": ("Flickr", "MSCOCO", "WinoGAViL"),
}
DATACOMPS_ALONE = ("iWildCam", "Camelyon17", "FMoW", "Dollar Street", "GeoDE", "WinoGAViL")
"""Its tasks that are not here; of two more it has no main metric."""


def row(key, value, task="zeroshot_classification"):
    if task == "zeroshot_retrieval":
        metrics = {"image_retrieval_recall@1": value, "text_retrieval_recall@1": value, "mean_recall@1": value}
    else:
        metrics = {"acc1": value, "acc5": None, "mean_per_class_recall": value}
    metrics["main_metric"] = value
    return {"key": key, "dataset": key, "task": task, "metrics": metrics, "model_digest": "0123456789abcdef" * 4}


def datacomps_aggregates(path):
    """What DataComp's ``aggregate_scores.py`` makes of a results file, written anew: its count, its groups."""
    frame = pd.read_json(path, lines=True)
    frame = pd.concat([frame.drop(["metrics"], axis=1), frame["metrics"].apply(pd.Series)], axis=1)
    frame = frame.dropna(subset=["main_metric"])
    assert len(frame) == 38
    results = dict(zip(frame.dataset, frame.main_metric, strict=True))
    groups = {name: np.mean([results[title] for title in titles]) for name, titles in DATACOMP_GROUPS.items()}
    return {"ImageNet": results["ImageNet 1k"], **groups, "Average": np.mean(list(results.values()))}


def test_datacomps_aggregator_reads_our_tasks_beside_its_own(tmp_path):
    rows = [
        row(known.slug, number / 64, "zeroshot_retrieval" if known.is_retrieval else "zeroshot_classification")
        for number, known in enumerate(KNOWN)
    ]
    write_exports(str(tmp_path), "model", [*rows, row("mine", 0.5), row("cifar10.few_shot_5", 0.5, "few_shot_5")])
    with (tmp_path / "eval_results.jsonl").open("a") as file:
        for title in DATACOMPS_ALONE:
            file.write(json.dumps({"key": title, "dataset": title, "metrics": {"main_metric": 0.25}}) + "\n")
    found = datacomps_aggregates(tmp_path / "eval_results.jsonl")
    value = {known.title: number / 64 for number, known in enumerate(KNOWN)}
    own = json.loads((tmp_path / "averages.json").read_text())
    assert found["ImageNet dist. shifts"] == pytest.approx(own["ImageNet dist. shifts (DataComp)"])
    assert found["VTAB"] == pytest.approx(own["VTAB (DataComp)"])
    assert found["ImageNet"] == value["ImageNet 1k"]
    assert found["Retrieval"] == pytest.approx((value["Flickr"] + value["MSCOCO"] + 0.25) / 3)
    everything = [*(number for title, number in value.items() if title != "ImageNet ReaL"), *[0.25] * 6]
    assert found["Average"] == pytest.approx(np.mean(everything))


def test_datacomps_file_is_not_written_where_no_task_is_its_own(tmp_path):
    write_exports(str(tmp_path), "model", [row("mine", 0.5)])
    assert not (tmp_path / "eval_results.jsonl").exists()
    assert (tmp_path / "averages.json").exists()


def test_the_papers_six_variants():
    assert set(AVERAGES["ImageNet variants (Scaling Down CLIP)"]) == {
        "imagenet-a",
        "imagenet-r",
        "imagenet_sketch",
        "imagenetv2",
        "objectnet",
        "imagenet_real",
    }


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
