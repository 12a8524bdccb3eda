"""What a person sees of a job's progress where there is no terminal."""

from __future__ import annotations

import pytest

from pipelines.progress import progress, progress_line


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ((0, 5_000, 10_000, 20.0), "score: 5,000/10,000 (50%), 250.0/s, 00:20 left"),
        ((4_000, 5_000, 10_000, 20.0), "score: 5,000/10,000 (50%), 50.0/s, 01:40 left"),
        ((0, 10_000, 10_000, 3_600.0), "score: 10,000/10,000 (100%), 2.8/s, 1:00:00"),
        ((0, 0, 10_000, 5.0), "score: 0/10,000 (0%), 0.0/s"),
        ((0, 0, 0, 0.0), "score: 0/0 (100%), 0.0/s, 00:00"),
    ],
)
def test_a_line_says_how_many_how_fast_and_how_long(numbers: tuple, line: str) -> None:
    before, done, total, seconds = numbers
    assert progress_line("score", before, done, total, seconds) == line


def test_a_last_line_stands_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = 0
    with progress("score", 7, lambda: done):
        done = 7
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("score: 7/7 (100%), ")


def test_an_error_inside_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress("score", 7, lambda: 3):
        raise KeyError
    assert "3/7 (43%)" in capsys.readouterr().err
