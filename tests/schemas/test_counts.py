"""Counts: read from and written as one flat list of names and numbers, the same as manifests always had."""

from __future__ import annotations

import json

import pytest

from clipsieve.schemas.counts import (
    Counts,
    DedupCounts,
    DownloadCounts,
    DriftCounts,
    FilterCounts,
    MemberCounts,
    PassCounts,
    ReshardCounts,
    ScoreCounts,
    SelectionCounts,
    failure_counts,
)
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.stages import STAGES

DOWNLOADED = {
    "rows": 62,
    "duplicates": 2,
    "success": 50,
    "failed_to_download": 8,
    "failed_to_resize": 2,
    "error_http_error": 8,
    "error_not_an_image": 2,
    "pass_1_rows": 9,
    "pass_1_success": 1,
    "pass_2_rows": 8,
    "pass_2_success": 0,
}
DRIFTED = ("same", "reencoded", "resized", "swapped", "placeholder", "expired", "unknown")
FLAT = [
    ("download", DOWNLOADED, DownloadCounts),
    ("score", {"pairs": 21, "shards": 3, "opted_out": 0}, ScoreCounts),
    ("score", {"pairs": 21, "shards": 3}, ScoreCounts),
    ("drift", {"pairs": 9, **dict(zip(DRIFTED, range(9), strict=False))}, DriftCounts),
    ("filter", {"pairs": 9, "kept": 4, "few_words": 3, "small_image": 2}, FilterCounts),
    ("dedup", {"pairs": 9, "kept": 4, "exact": 3, "thumbnail": 2, "contaminated": 1}, DedupCounts),
    ("select", {"pairs": 9, "eligible": 4, "opted_out": 1, "duplicate": 2, "few_words": 2}, SelectionCounts),
    ("select", {"pairs": 9, "eligible": 9}, SelectionCounts),
    ("select", {"top20": 1, "top40": 3}, MemberCounts),
    ("reshard", {"pairs": 9, "shards": 2, "missing": 3, "opted_out": 1}, ReshardCounts),
    ("train", {}, Counts),
]


@pytest.mark.parametrize(("stage", "flat", "kind"), FLAT)
def test_flat_counts_are_read_and_written_as_they_are(stage: str, flat: dict[str, int], kind: type[Counts]) -> None:
    read = STAGES[stage].read_counts(flat)
    assert type(read) is kind
    assert list(read.shown.items()) == list(flat.items())
    assert json.loads(read.model_dump_json()) == flat == read.model_dump()


def test_the_fields_say_what_the_names_say() -> None:
    counts = DownloadCounts.model_validate(DOWNLOADED)
    assert counts.errors == {ErrorClass.HTTP_ERROR: 8, ErrorClass.NOT_AN_IMAGE: 2}
    assert counts.retries == (PassCounts(rows=9, success=1), PassCounts(rows=8, success=0))
    assert (counts.distinct, counts.failed, counts.rows_by_pass) == (60, 10, [62, 9, 8])
    selected = SelectionCounts.model_validate(dict(FLAT[6][1]))
    assert (selected.opted_out, selected.left_out) == (1, {"duplicate": 2, "few_words": 2})


def test_passes_are_in_their_order_however_they_stand() -> None:
    numbers = {f"pass_{number}_{what}": number for number in (10, 2, 1) for what in ("success", "rows")}
    numbers |= {f"pass_{number}_{what}": number for number in range(3, 10) for what in ("success", "rows")}
    counts = DownloadCounts.model_validate({"rows": 0, "duplicates": 0, "success": 0, **numbers})
    assert [retry.rows for retry in counts.retries] == list(range(1, 11))


@pytest.mark.parametrize(
    ("stage", "flat"),
    [
        ("download", {**DOWNLOADED, "error_unheard_of": 1}),
        ("download", {**DOWNLOADED, "sucess": 1}),
        ("score", {"pairs": 1, "shards": 1, "top20": 1}),
        ("score", {"pairs": "many", "shards": 1}),
    ],
)
def test_names_that_a_stage_does_not_count_are_refused(stage: str, flat: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        STAGES[stage].read_counts(flat)


def test_failures_add_up_to_their_status() -> None:
    assert failure_counts({"timeout": 3, "decode_error": 2, "http_error": 4}) == {
        "failed_to_download": 7,
        "failed_to_resize": 2,
        "errors": {ErrorClass.DECODE_ERROR: 2, ErrorClass.HTTP_ERROR: 4, ErrorClass.TIMEOUT: 3},
    }
