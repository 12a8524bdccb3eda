"""Words and figures as a page shows them."""

from __future__ import annotations

from clipsieve.evaluation.pages.words import signed


def test_points_are_signed() -> None:
    assert [signed(value) for value in (0.0123, -0.5, 0.0)] == ["+1.2", "\N{MINUS SIGN}50.0", "+0.0"]
