from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.fetch.retry import backoff_seconds, retry_after_seconds

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@given(st.text(max_size=8), st.integers(1, 9))
def test_waits_double_and_their_jitter_is_the_seeds(seed, attempt):
    wait = backoff_seconds(seed, attempt)
    assert 0.25 * 2 ** (attempt - 1) <= wait < 0.75 * 2 ** (attempt - 1)
    assert wait == backoff_seconds(seed, attempt)


@given(st.integers(0, 10**9))
def test_retry_after_is_read_in_seconds_and_as_a_date(seconds):
    assert retry_after_seconds(f" {seconds} ", NOW) == seconds
    assert retry_after_seconds(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True), NOW) == seconds


def test_a_date_that_has_passed_is_no_wait():
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT", NOW) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "-1", "1.5", "²", "1e3", "Xyz, 99 Foo 0000 99:99:99 GMT"])
def test_what_cannot_be_read_says_nothing(value):
    assert retry_after_seconds(value, NOW) is None


@given(
    st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [-+0-9A-Z]{3,9}")
)
def test_no_retry_after_however_odd_is_an_exception(value):
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or seconds >= 0


def test_a_wait_of_a_thousand_digits_is_a_long_one():
    assert (retry_after_seconds("9" * 1000, NOW) or 0) > 10**9
