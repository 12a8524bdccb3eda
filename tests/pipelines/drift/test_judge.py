"""What an image is next to the published one, by each kind of evidence and by all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.drift.judge import deviations, is_of_shape, judge, looseness, spread
from clipsieve.pipelines.drift.pairs import DownloadedPairs
from clipsieve.pipelines.drift.published import Stated
from clipsieve.schemas.options import DriftOptions

SIZE = (640, 480)
SIDES = st.integers(1, 3000)


def verdicts(rows: list[dict[str, Any]], options: DriftOptions | None = None) -> list[str]:
    """The verdicts on rows of which what is not said is as it was published, each on a host of its own."""
    count = len(rows)

    def column(name: str, default: Any, dtype: Any) -> np.ndarray:
        values = [row.get(name, default(number) if callable(default) else default) for number, row in enumerate(rows)]
        return np.array(values, dtype)

    hosts = pa.array([row.get("host", f"host{number}") for number, row in enumerate(rows)], pa.string())
    pairs = DownloadedPairs(
        uids=pa.chunked_array([[f"{number:032x}" for number in range(count)]]),
        keys=np.array([str(number).encode() for number in range(count)], "S16"),
        sizes=column("size", SIZE, np.int32),
        sha256=column("sha256", lambda number: 1000 + number, np.uint64),
        phash=column("phash", 0, np.uint64),
        urls=np.arange(count, dtype=np.uint64),
        hosts=pa.chunked_array([hosts.dictionary_encode()]),
        similarities=column("similarity", 0.3, np.float32).reshape(count, 1),
    )
    stated = Stated(
        is_there=column("is_there", True, bool),
        sizes=column("stated_size", SIZE, np.int32),
        sha256=column("stated_sha256", lambda number: 9000 + number, np.uint64),
        similarities=column("stated_similarity", 0.3, np.float32).reshape(count, 1),
        cosine=column("cosine", np.nan, np.float32),
    )
    return judge(pairs, stated, options or DriftOptions()).verdicts.tolist()


QUIET = [{"stated_similarity": 0.2 + 0.002 * number, "similarity": 0.2 + 0.002 * number} for number in range(100)]
"""Re-encoded pairs whose similarities are spread as a pool's are."""

NOTHING = {"stated_sha256": 0, "stated_size": (0, 0), "stated_similarity": np.nan}


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"sha256": 5, "stated_sha256": 5}, "same"),
        ({"sha256": 5, "stated_sha256": 5, "similarity": -0.5, "cosine": 0.1}, "same"),  # bytes outweigh all else
        ({"stated_sha256": 0}, "same"),  # nothing says otherwise
        ({}, "reencoded"),
        ({"stated_size": (0, 0)}, "reencoded"),
        ({"size": (320, 240)}, "resized"),
        ({"size": (1280, 960)}, "resized"),
        ({"size": (480, 640)}, "resized"),  # turned
        ({"stated_sha256": 0, "size": (320, 240)}, "resized"),
        ({"size": (640, 640)}, "swapped"),
        ({"size": (300, 240)}, "swapped"),
        ({"similarity": 0.05}, "swapped"),
        ({"similarity": 0.55}, "swapped"),
        ({"similarity": 0.305}, "reencoded"),
        ({"size": (320, 240), "similarity": 0.05}, "swapped"),
        ({"cosine": 0.5}, "swapped"),
        ({"cosine": 0.97}, "swapped"),
        ({"cosine": 0.985}, "reencoded"),
        ({"cosine": 0.985, "similarity": 0.05}, "reencoded"),  # the embedding tells more than the similarity
        ({"cosine": 0.97, "size": (320, 240)}, "resized"),
        ({"cosine": 0.95, "size": (320, 240)}, "swapped"),
        ({"cosine": 0.91, "size": (40, 40), "stated_size": (40, 40)}, "reencoded"),
        ({"cosine": 0.8, "size": (40, 40), "stated_size": (40, 40)}, "swapped"),
        ({"cosine": 0.75, "size": (8, 8), "stated_size": (80, 80)}, "resized"),
        ({"cosine": 0.65, "size": (8, 8), "stated_size": (80, 80)}, "swapped"),  # however small
        ({"is_there": False}, "unknown"),
        (NOTHING, "unknown"),
        ({"is_there": False, "size": (9, 9), "similarity": -1.0}, "unknown"),
    ],
)
def test_a_pair_by_itself(row: dict[str, Any], verdict: str) -> None:
    assert verdicts([*QUIET, row]) == ["reencoded"] * len(QUIET) + [verdict]


def test_one_image_under_many_urls_that_showed_others_is_a_placeholder() -> None:
    shown = {"sha256": 7, "similarity": 0.0}
    assert verdicts([*QUIET, *[shown] * 3])[-3:] == ["placeholder"] * 3
    assert verdicts([*QUIET, *[shown] * 2])[-2:] == ["swapped"] * 2
    # By chance one of them is as similar as what was published: it is the same image all the same.
    assert verdicts([*QUIET, *[shown] * 3, {"sha256": 7}])[-1] == "placeholder"
    assert verdicts([*QUIET, *[shown] * 3, {"sha256": 7, "stated_sha256": 7}])[-1] == "same"
    assert verdicts([*QUIET, *[shown] * 3], DriftOptions(min_copies=4))[-3:] == ["swapped"] * 3


def test_an_image_that_was_published_many_times_is_none() -> None:
    assert verdicts([*QUIET, *[{"sha256": 7}] * 9])[-9:] == ["reencoded"] * 9


def test_a_placeholder_that_is_encoded_anew_each_time_is_told_by_its_look() -> None:
    looks = [0x5A5A5A5A5A5A5A5A ^ bit for bit in (0, 0, 0, 0b11)]
    shown = [{"phash": look, "similarity": 0.0} for look in looks]
    assert verdicts([*QUIET, *shown])[-4:] == ["placeholder"] * 4
    assert verdicts([*QUIET, *shown], DriftOptions(max_hamming=1))[-4:] == ["placeholder"] * 3 + ["swapped"]
    # What only looks so and is what was published stays what it is.
    assert verdicts([*QUIET, *shown, {"phash": looks[0]}])[-1] == "reencoded"


def test_a_host_nearly_all_of_whose_images_are_others_has_expired() -> None:
    other, sound = {"host": "gone", "similarity": 0.0}, {"host": "gone"}
    assert verdicts([*QUIET, *[other] * 4, sound])[-5:] == ["expired"] * 5
    assert verdicts([*QUIET, *[other] * 3, *[sound] * 2])[-5:] == ["swapped"] * 3 + ["reencoded"] * 2
    assert verdicts([*QUIET, *[other] * 4])[-4:] == ["swapped"] * 4  # too few to tell
    same = {"host": "gone", "sha256": 5, "stated_sha256": 5}
    assert verdicts([*QUIET, *[other] * 9, same])[-10:] == ["swapped"] * 9 + ["same"]
    unknown = {"host": "gone", "is_there": False}
    assert verdicts([*QUIET, *[other] * 5, unknown])[-6:] == ["expired"] * 5 + ["unknown"]


@given(st.tuples(SIDES, SIDES), st.floats(0.05, 1), st.booleans())
def test_a_picture_that_is_scaled_has_its_shape(size: tuple[int, int], share: float, floor: bool) -> None:
    scaled = [max(1, int(side * share) if floor else round(side * share)) for side in size]
    one, other = np.array([size], np.int32), np.array([scaled], np.int32)
    assert is_of_shape(one, other).all() and is_of_shape(other, one).all()


@pytest.mark.parametrize(
    ("own", "stated"), [((640, 640), (640, 480)), ((100, 100), (100, 104)), ((2000, 1000), (1000, 520))]
)
def test_another_shape_is_told(own: tuple[int, int], stated: tuple[int, int]) -> None:
    assert not is_of_shape(np.array([own], np.int32), np.array([stated], np.int32)).any()


def test_small_and_resized_images_may_be_farther() -> None:
    own = np.array([[640, 480], [320, 240], [1280, 960], [96, 200], [48, 48], [24, 24], [0, 9]], np.int32)
    stated = np.array([[640, 480], [640, 480], [640, 480], [96, 200], [48, 48], [48, 48], [48, 48]], np.int32)
    np.testing.assert_allclose(looseness(own, stated), [1, 2**0.5, 2**0.5, 1, 2, 4 * 2**0.5, 1])
    np.testing.assert_allclose(looseness(own, stated), looseness(stated, own))


def test_a_deviation_is_in_robust_standard_deviations() -> None:
    draw = np.random.default_rng(0)
    change = draw.normal(0.02, 0.01, (100_000, 1)).astype(np.float32)
    change[:20_000] = 0.9  # what drifted says nothing of what is usual
    usual = np.ones(len(change), bool)
    found = deviations(change, np.zeros(1), usual)
    assert 50 < found[0] < 90
    usual[:20_000] = False
    found = deviations(change, np.zeros(1), usual)
    np.testing.assert_allclose(found[20_000:], np.abs(change[20_000:, 0] - 0.02) / 0.01, rtol=0.05, atol=0.02)
    change[5] = np.nan
    assert deviations(change, np.zeros(1), usual)[5] == 0


def test_the_scale_has_a_least_that_follows_from_the_published_spread() -> None:
    published = np.random.default_rng(0).normal(0.2, 0.1, (10_000, 1)).astype(np.float32)
    np.testing.assert_allclose(spread(published), [0.1], rtol=0.05)
    still = np.zeros((100, 1), np.float32)
    still[0] = 0.05
    assert deviations(still, spread(published), np.ones(100, bool))[0] == pytest.approx(10, rel=0.05)


def test_of_several_references_the_largest_deviation_counts() -> None:
    change = np.tile(np.linspace(-0.01, 0.01, 101, dtype=np.float32)[:, None], 2)
    change[0, 1] = 1
    found = deviations(change, np.zeros(2), np.ones(101, bool))
    assert found[0] > 50 > found[1:].max()


def test_no_similarity_no_deviation() -> None:
    assert deviations(np.zeros((3, 0), np.float32), np.zeros(0), np.ones(3, bool)).tolist() == [0, 0, 0]
    assert deviations(np.full((3, 1), np.nan, np.float32), np.zeros(1), np.ones(3, bool)).tolist() == [0, 0, 0]
