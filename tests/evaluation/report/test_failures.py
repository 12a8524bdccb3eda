"""Why pairs failed, by class, host and consent."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.report import failures
from clipsieve.evaluation.report.failures import ClassFailures, HostFailures, read_failures, with_host
from clipsieve.schemas import tables
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.outcomes import Consent

A, B = "https://a.example/", "http://u:p@B.example:8080/x?y"
LETTERS = [
    (A, "http_error", 404, "allowed", False),
    (A, "http_error", 404, "allowed", False),
    (B, "http_error", 503, "allowed", True),
    (A, "timeout", None, None, True),
    (B, "opted_out", 200, "x_robots_tag", False),
    (B, "opted_out", None, "robots_txt", False),
    ("not a URL", "invalid_url", None, None, False),
    (None, "invalid_url", None, None, False),
]
COUNTS = DownloadCounts(rows=20, duplicates=2, success=10)


@pytest.fixture
def shards(tmp_path):
    def write(letters):
        names = ("url", "error_class", "http_status", "consent", "retryable")
        rows = [
            {"uid": f"{number:032x}", "stage": "fetch", **dict(zip(names, letter, strict=True))}
            for number, letter in enumerate(letters)
        ]
        table = pa.Table.from_pylist(rows, schema=tables.DEAD_LETTERS.schema)
        tables.write_table(table, tables.DEAD_LETTERS, str(tmp_path / "_manifest" / "dead_letters.parquet"))
        return str(tmp_path)

    return write


def read(folder, counts):
    found = read_failures(folder, counts)
    assert found is not None
    return found


def test_failures_are_added_up_by_class_host_and_consent(shards):
    found = read(shards(LETTERS), COUNTS)
    assert (found.asked, found.rows, found.retryable) == (18, 8, 2)
    assert found.classes == (
        ClassFailures("http_error", 3, 1, ((404, False, 2), (503, True, 1))),
        ClassFailures("invalid_url", 2, 0, ()),
        ClassFailures("opted_out", 2, 0, ()),
        ClassFailures("timeout", 1, 1, ()),
    )
    assert found.hosts == (HostFailures("a.example", 3, "http_error"), HostFailures("b.example", 3, "opted_out"))
    assert dict(found.consent) == {"allowed": 13, None: 3, "x_robots_tag": 1, "robots_txt": 1}
    assert sum(dict(found.consent).values()) == found.asked


def test_without_failures_or_without_dead_letters(shards, tmp_path):
    assert read_failures(str(tmp_path), COUNTS) is None
    found = read(shards([]), DownloadCounts(rows=12, duplicates=2, success=10))
    assert (found.rows, found.classes, found.hosts, found.consent) == (0, (), (), (("allowed", 10),))
    assert read_failures(shards(LETTERS), None) is None


def test_many_hosts_are_counted_in_bounded_memory(shards, monkeypatch):
    monkeypatch.setattr(failures, "_HOSTS_COUNTED", 100)
    letters = [(f"http://rare{number}.example/", "timeout", None, None, True) for number in range(1000)]
    letters += [("http://often.example/", "timeout", None, None, True)] * 50
    found = read(shards(letters), COUNTS)
    assert found.hosts[0] == HostFailures("often.example", 50, "timeout")
    assert len(found.hosts) == failures.MOST_HOSTS


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            "{}://{}{}{}{}".format,
            st.sampled_from(["http", "HTTPS"]),
            st.sampled_from(["", "user@", "u:p@"]),
            st.sampled_from(["a.example", "B.Example", "127.0.0.1", "[2001:db8::1]", "xn--bcher-kva.example"]),
            st.sampled_from(["", ":80", ":8443"]),
            st.sampled_from(["", "/", "/a@b:c", "?u=http://c.example/", "#x"]),
        ),
        min_size=1,
    )
)
def test_a_url_s_host_is_what_the_standard_library_says(urls):
    found = with_host(pa.table({"url": urls}))["host"].to_pylist()
    assert Counter(host.strip("[]") for host in found) == Counter(urlsplit(url).hostname for url in urls)


def test_every_consent_has_words_of_its_own():
    told = [words.consent(each.value) for each in Consent] + [words.consent(None)]
    assert len(set(told)) == len(told)
    assert words.consent("another") == "another"
