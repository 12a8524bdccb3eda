"""The funnel adds up, and every reason is told in plain words."""

from __future__ import annotations

from collections import Counter

import numpy as np

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.funnel import Loss, funnel
from clipsieve.evaluation.report.models import ModelRun
from clipsieve.evaluation.report.scored_pool import Band, ScoredPool
from clipsieve.schemas.counts import DownloadCounts, TrainCounts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.training_data import TrainingData, WeightedSubset

POOL = ScoredPool(Counter(too_small=3), np.zeros(1), (Band(40, 0, 0, ()), Band(57, 0, 0, ())), ())
DOWNLOAD = DownloadCounts(
    rows=120,
    duplicates=4,
    success=100,
    failed_to_download=13,
    failed_to_resize=3,
    errors={ErrorClass.TIMEOUT: 3, ErrorClass.HTTP_ERROR: 10, ErrorClass.DECODE_ERROR: 3},
)
CUT = SubsetCut("top40", 40.0, 38, 0.5, "0" * 32)


def _model(name, subset, pairs):
    subsets = [WeightedSubset(name=subset, path=None, digest="")] if subset else []
    manifest = Manifest(
        stage="train",
        recipe=TrainOptions(),
        inputs={"shards": ""},
        subsets=subsets,
        versions={},
        started_at="",
        counts=TrainCounts(
            pairs=pairs, samples_seen=0, unique_samples=0, steps=0, parameters=0, image_macs=0, text_macs=0
        ),
    )
    return ModelRun(name, TrainingData(tuple(subsets), "shards", ""), manifest, (), (), "")


def test_every_pair_is_kept_or_lost_for_a_reason():
    models = [_model("all", None, 100), _model("best", "top40", 38)]
    steps = funnel(DOWNLOAD, POOL, [CUT], models)
    assert [(step.name, step.count) for step in steps] == [
        ("Rows in the table", 120),
        ("Distinct requested pairs", 116),
        ("Images downloaded", 100),
        ("Pairs scored", 100),
        ("Eligible for selection", 97),
        ("Trained on by all", 100),
        ("Trained on by best", 38),
    ]
    lost = [sum(loss.count for loss in step.losses) for step in steps]
    assert lost == [0, 4, 16, 0, 3, 0, 59]
    assert steps[2].losses[0] == Loss("answered with an HTTP error", 10)
    assert steps[-1].losses == (Loss("not in the top 40%", 59),)


def test_what_no_reason_explains_is_shown():
    steps = funnel(DOWNLOAD.model_copy(update={"success": 90}), POOL, [CUT], [])
    assert steps[2].losses[-1] == Loss("for a reason that no manifest names", 10)


def test_without_models_it_ends_at_the_cuts_and_without_a_download_it_begins_at_the_scores():
    steps = funnel(None, POOL, [CUT], [])
    assert [(step.name, step.count) for step in steps] == [
        ("Pairs scored", 100),
        ("Eligible for selection", 97),
        ("In the top 40%", 38),
    ]


def test_every_error_class_has_words_of_its_own():
    told = [words.LOSSES[error.value] for error in ErrorClass]
    assert len(set(told)) == len(told)


def test_names_of_subsets():
    names = [words.subset(name) for name in ("top40", "top12.5", "10M", "mine")]
    assert names == ["top 40%", "top 12.5%", "sample of 10M", "mine"]


def test_what_a_model_was_trained_on_is_told_by_its_shares():
    parts = [
        WeightedSubset(name=name, path=None, weight=weight, digest="") for name, weight in (("top20", 7), ("top80", 3))
    ]
    told = [words.trained_on(TrainingData(tuple(some), "shards", "")) for some in ([], parts[:1], parts)]
    assert told == ["all pairs", "top 20%", "70% top20 + 30% top80"]
