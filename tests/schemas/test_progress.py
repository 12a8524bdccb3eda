"""What a person sees of a job's progress where there is no terminal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.progress import Meter, Reading, progress


@pytest.mark.parametrize(
    ("readings", "line"),
    [
        ([(0, 0), (20, 5_000)], "score: 5,000/10,000 (50%), 250.0/s, 00:20 left"),
        ([(5, 4_000), (25, 5_000)], "score: 5,000/10,000 (50%), 50.0/s, 01:40 left"),
        ([(0, 0), (3_600, 10_000)], "score: 10,000/10,000 (100%), 2.8/s, 1:00:00"),
        ([(0, 0), (5, 0)], "score: 0/10,000 (0%), 0.0/s"),
        ([(7, 3_000)], "score: 3,000/10,000 (30%)"),
        ([(7, 10_000)], "score: 10,000/10,000 (100%), 00:00"),
    ],
)
def test_a_line_says_how_many_how_fast_and_how_long(readings: list[tuple[float, int]], line: str) -> None:
    meter = Meter("score", 10_000)
    for seconds, done in readings:
        meter.add(seconds, Reading(done))
    assert meter.line() == line


def test_images_are_told_beside_rows_and_how_the_rows_ended() -> None:
    meter = Meter("download", 50_000)
    meter.add(100, Reading(2_340, 1_000, "43% ok"))
    meter.add(110, Reading(12_340, 9_000, "81% ok, http_error 404 9%"))
    expected = "download: 12,340/50,000 (25%), 800 images/s, 00:37 left, 81% ok, http_error 404 9%"
    assert meter.line() == expected


def test_the_pace_is_that_of_the_later_half_and_in_the_end_that_of_the_whole_run() -> None:
    meter = Meter("score", 1_000)
    for seconds in range(101):
        meter.add(seconds, Reading(0 if seconds <= 50 else 10 * (seconds - 50)))
    assert meter.line() == "score: 500/1,000 (50%), 10.0/s, 00:50 left"
    meter.add(125, Reading(1_000))
    assert meter.line() == "score: 1,000/1,000 (100%), 8.0/s, 02:05"


def test_nothing_to_do_is_all_done() -> None:
    meter = Meter("score", 0)
    meter.add(0, Reading(0))
    assert meter.line() == "score: 0/0 (100%), 00:00"


@settings(deadline=None)
@given(
    st.integers(0, 10**12),
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 10**12)), min_size=1).map(
        lambda readings: sorted(readings, key=lambda reading: reading[0])
    ),
)
def test_no_readings_break_a_line(total: int, readings: list[tuple[float, int]]) -> None:
    meter = Meter("score", total)
    for seconds, done in readings:
        meter.add(seconds, Reading(done, done // 2))
        assert meter.line().startswith(f"score: {done:,}/{total:,} (")


def test_a_last_line_stands_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = 0
    with progress("score", 7, lambda: Reading(done)):
        done = 7
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("score: 7/7 (100%), ")


def test_an_error_inside_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress("score", 7, lambda: Reading(3)):
        raise KeyError
    assert "3/7 (43%)" in capsys.readouterr().err
