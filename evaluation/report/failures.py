"""Why pairs were not downloaded, where, and what their owners allow: the dead letters of a download, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.outcomes import Consent, ErrorClass

MOST_HOSTS = 10
_HOSTS_COUNTED = 100_000
_HOST = r"^\s*[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>\[[^\]/?#]*\]|[^:/?#]+)"
_COLUMNS = ["url", "error_class", "http_status", "consent", "retryable"]


@dataclass(frozen=True)
class ClassFailures:
    """The pairs of one error class; of ``rows``, another pass may change ``retryable``."""

    error_class: str
    rows: int
    retryable: int
    statuses: tuple[tuple[int, bool, int], ...]
    """Of HTTP errors: the status, whether another pass may change it, and rows; the commonest first."""


@dataclass(frozen=True)
class HostFailures:
    """The failures of one host, and the class of most of them."""

    host: str
    rows: int
    error_class: str


@dataclass(frozen=True)
class Failures:
    """Of ``asked`` distinct pairs, those that failed: by class, by host, and all pairs by consent, most first.

    A consent of None: nothing was asked or answered that could tell.
    """

    asked: int
    classes: tuple[ClassFailures, ...]
    hosts: tuple[HostFailures, ...]
    consent: tuple[tuple[str | None, int], ...]

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.classes)

    @property
    def retryable(self) -> int:
        return sum(each.retryable for each in self.classes)


def read_failures(shards: str, counts: DownloadCounts | None) -> Failures | None:
    """The failures in the folder ``shards``, whose manifest has ``counts``; None where no dead letters are listed.

    The table is read once, in batches; only the counts are held.
    """
    path = files.join(shards, "_manifest", "dead_letters.parquet")
    if counts is None or not files.exists(path):
        return None
    ends: Counter[tuple[Any, ...]] = Counter()
    hosts: Counter[tuple[Any, ...]] = Counter()
    for batch in tables.iter_batches(path, tables.DEAD_LETTERS, _COLUMNS):
        rows = pa.Table.from_batches([batch])
        ends.update(_count_by(rows, ["error_class", "http_status", "consent", "retryable"]))
        hosts.update(_count_by(with_host(rows), ["host", "error_class"]))
        if len(hosts) > _HOSTS_COUNTED:
            # Rare hosts are forgotten to bound memory; one of the top is counted short only if it was rare before.
            hosts = Counter(dict(hosts.most_common(_HOSTS_COUNTED // 2)))
    return Failures(
        asked=counts.distinct,
        classes=_by_class(ends),
        hosts=_by_host(hosts),
        consent=_by_consent(ends, counts.success),
    )


def with_host(rows: pa.Table) -> pa.Table:
    """``rows`` whose ``url`` has a host, with it as a column: in lower case, without user and port."""
    host = pc.struct_field(pc.extract_regex(rows["url"], _HOST), "host")
    return rows.append_column("host", pc.utf8_lower(host)).filter(pc.is_valid(host))


def _count_by(rows: pa.Table, columns: list[str]) -> dict[tuple[Any, ...], int]:
    counted = rows.group_by(columns).aggregate([([], "count_all")]).to_pylist()
    return {tuple(row[name] for name in columns): row["count_all"] for row in counted}


def _by_class(ends: Counter[tuple[Any, ...]]) -> tuple[ClassFailures, ...]:
    rows: Counter[str] = Counter()
    retryable: Counter[str] = Counter()
    statuses: Counter[tuple[int, bool]] = Counter()
    for (error_class, http_status, _, is_retryable), count in ends.items():
        rows[error_class] += count
        retryable[error_class] += count if is_retryable else 0
        if error_class == ErrorClass.HTTP_ERROR.value:
            statuses[http_status, is_retryable] += count
    of_http = tuple((*status, count) for status, count in _ranked(statuses))
    return tuple(
        ClassFailures(name, count, retryable[name], of_http if name == ErrorClass.HTTP_ERROR.value else ())
        for name, count in _ranked(rows)
    )


def _by_host(hosts: Counter[tuple[Any, ...]]) -> tuple[HostFailures, ...]:
    rows: Counter[str] = Counter()
    commonest: dict[str, str] = {}
    for (host, error_class), count in _ranked(hosts):
        rows[host] += count
        commonest.setdefault(host, error_class)
    return tuple(HostFailures(host, count, commonest[host]) for host, count in _ranked(rows)[:MOST_HOSTS])


def _by_consent(ends: Counter[tuple[Any, ...]], success: int) -> tuple[tuple[str | None, int], ...]:
    decided: Counter[str | None] = Counter({Consent.ALLOWED.value: success})
    for (_, _, consent, _), count in ends.items():
        decided[consent] += count
    return _ranked(decided)


def _ranked(counts: Counter[Any]) -> tuple[tuple[Any, int], ...]:
    """Most first; equal counts in the order of their names, so that equal data makes an equal page."""
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))
