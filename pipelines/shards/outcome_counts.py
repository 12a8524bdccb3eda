"""How rows ended, counted by name: `success`, `duplicates`, or the class of the failure."""

from __future__ import annotations

from collections import Counter

from clipsieve.schemas.outcomes import ErrorClass, Status

OutcomeCounts = Counter[str]
"""Rows by `end_name`; those left out as repeating an earlier row by `DUPLICATES`."""

DUPLICATES = "duplicates"
_MOST_NAMED = 3


def end_name(error_class: str | None, http_status: int | None) -> str:
    """How a row ended, in words that few rows do not share: ``success``, ``timeout``, ``http_error 404``."""
    if error_class == ErrorClass.HTTP_ERROR.value:
        return f"{error_class} {http_status}"
    return error_class or Status.SUCCESS.value


def class_of(name: str) -> str:
    """`end_name` without the status: the error class, ``success`` or ``duplicates``."""
    return name.partition(" ")[0]


def rows_of(ends: OutcomeCounts) -> int:
    return sum(ends.values())


def asked_of(ends: OutcomeCounts) -> int:
    return rows_of(ends) - ends[DUPLICATES]


def failed_of(ends: OutcomeCounts) -> int:
    return asked_of(ends) - ends[Status.SUCCESS.value]


def describe(ends: OutcomeCounts) -> str:
    """Shares of the rows requested: ``81% ok, http_error 404 9%, timeout 3%``, the commonest failures alone."""
    asked = asked_of(ends)
    if not asked:
        return ""
    return ", ".join([f"{ends[Status.SUCCESS.value] / asked:.0%} ok", *top_failures(ends)])


def top_failures(ends: OutcomeCounts) -> list[str]:
    """The commonest failures and their share of the rows requested: ``http_error 404 9%``."""
    failures = [(rows, name) for name, rows in ends.items() if name not in (Status.SUCCESS.value, DUPLICATES)]
    commonest = sorted(failures, key=lambda failure: (-failure[0], failure[1]))[:_MOST_NAMED]
    return [f"{name} {rows / asked_of(ends):.0%}" for rows, name in commonest if rows]


def breaks_budget(ends: OutcomeCounts, rows: int, max_failure_share: float) -> bool:
    """Whether more rows failed than the share allows of all ``rows``, even if every row still to come succeeds."""
    return failed_of(ends) > max_failure_share * (rows - ends[DUPLICATES])
