"""The learning rate by hand, and what holds at every length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.training.schedule import schedule


def test_a_run_of_eight_steps_by_hand():
    rates = [schedule(step, 8, 4) for step in range(8)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


@given(st.integers(1, 300), st.data())
def test_the_rate_climbs_to_its_peak_and_falls_towards_zero(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [schedule(step, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[warmup] == 1
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
