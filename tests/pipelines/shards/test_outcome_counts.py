from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.shards.outcome_counts import (
    DUPLICATES,
    OutcomeCounts,
    asked_of,
    breaks_budget,
    class_of,
    describe,
    end_name,
    failed_of,
)
from clipsieve.schemas.outcomes import ErrorClass

ENDS = OutcomeCounts(
    {"success": 810, "http_error 404": 90, "timeout": 60, "dns_error": 30, "too_large": 10, DUPLICATES: 500}
)


def test_a_row_is_named_by_its_class_and_an_http_error_by_its_status_too():
    assert end_name(None, 200) == "success"
    assert end_name("http_error", 404) == "http_error 404"
    assert end_name("connection_error", 200) == "connection_error"
    assert {class_of(end_name(each.value, 503)) for each in ErrorClass} == {each.value for each in ErrorClass}


def test_duplicates_are_neither_asked_for_nor_failed():
    assert (asked_of(ENDS), failed_of(ENDS)) == (1000, 190)


def test_the_description_names_the_three_commonest_failures():
    assert describe(ENDS) == "81% ok, http_error 404 9%, timeout 6%, dns_error 3%"
    assert describe(OutcomeCounts()) == describe(OutcomeCounts({DUPLICATES: 3})) == ""


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_budget_is_broken_just_when_no_further_row_can_mend_it(succeeded, failed, repeated, to_come, twentieths):
    """Oracle: the share at the end if all rows to come succeed, in whole numbers."""
    rows = succeeded + failed + repeated + to_come
    ends = OutcomeCounts({"success": succeeded, "timeout": failed, DUPLICATES: repeated})
    distinct = succeeded + failed + to_come
    share_at_best = Fraction(failed, distinct) if distinct else Fraction(0)
    assert breaks_budget(ends, rows, twentieths / 20) == (share_at_best > Fraction(twentieths, 20))
