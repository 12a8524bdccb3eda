"""The opt-out list: what a line means, what it forbids, and that a wrong one is named."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.uid import uid_bytes

NO_UID = "0" * 32
UIDS = [hashlib.md5(str(number).encode()).hexdigest() for number in range(100)]


@pytest.fixture
def write(tmp_path):
    """write(text) -> the list with that text."""

    def write_list(content: str | bytes):
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / f"{hashlib.md5(data).hexdigest()}.txt"
        path.write_bytes(data)
        return load_opt_out(str(path))

    return write_list


def forbids(listed, uid, url):
    """Whether a row of a shard's table is forbidden."""
    return bool(listed.forbids_rows(pa.table({"uid": [uid], "url": [url]}), "rows")[0])


def test_no_list_forbids_nothing_and_is_no_input():
    nothing = load_opt_out(None)
    assert not forbids(nothing, UIDS[0], "https://example.org/")
    assert not nothing.forbids_uids(uid_bytes(pa.array(UIDS))).any()
    assert nothing.inputs == {}


def test_entries_of_all_kinds_comments_and_blank_lines(write):
    listed = write(
        f"\ufeff# wishes\r\n\n  {UIDS[0]}\n{UIDS[1].upper()} # by letter\r\n"
        "https://example.org/a.jpg#top\nexample.com\t# the whole house\n#https://free.org/\n"
    )
    assert forbids(listed, UIDS[0], "") and forbids(listed, UIDS[1], "")
    assert not forbids(listed, UIDS[2], "https://free.org/")
    assert forbids(listed, NO_UID, "https://example.org/a.jpg")
    assert forbids(listed, NO_UID, "https://example.com/")
    assert (len(listed.uids), len(listed.urls), len(listed.domains)) == (2, 1, 1)


@pytest.mark.parametrize(
    "url, forbidden",
    [
        ("https://example.org/a.jpg", True),
        ("http://example.org/a.jpg", True),
        ("HTTPS://Example.ORG:443/a.jpg", True),
        (" https://example.org./a.jpg ", True),
        ("https://example.org/%61.jpg#part", True),
        ("https://me@example.org/a.jpg", True),
        ("https://example.org/a.jpg?", True),
        ("https://example.org/a.jpg?x=1", False),
        ("https://example.org/A.jpg", False),
        ("https://example.org:8443/a.jpg", False),
        ("https://www.example.org/a.jpg", False),
        ("https://example.org/b/../a.jpg", True),
        ("not a url", False),
        ("", False),
        ("http://[::1", False),
        ("data:image/png;base64,xx", False),
    ],
)
def test_a_url_is_the_same_however_it_is_written(write, url, forbidden):
    assert write("https://example.org/a.jpg\n").forbids_url(url) is forbidden


@pytest.mark.parametrize(
    "entry, url, forbidden",
    [
        ("example.com", "http://example.com/x", True),
        ("example.com", "http://a.b.EXAMPLE.com:8080/x?y", True),
        ("Example.COM.", "http://example.com./", True),
        ("example.com", "http://notexample.com/", False),
        ("example.com", "http://example.com.org/", False),
        ("example.com", "http://org/example.com", False),
        ("a.example.com", "http://example.com/", False),
        ("bücher.de", "http://xn--bcher-kva.de/", True),
        ("xn--bcher-kva.de", "http://www.BÜCHER.de/", True),
        ("org", "http://example.org/", True),
        ("192.0.2.7", "http://192.0.2.7/a", True),
    ],
)
def test_a_domain_covers_itself_and_all_below_it(write, entry, url, forbidden):
    assert write(f"{entry}\n").forbids_url(url) is forbidden


@pytest.mark.parametrize(
    "line",
    ["example.com/path", "*.example.com", "two words.com", "a..b", "user@example.com", "example.com:80", "://", "?"],
)
def test_a_wrong_line_is_named(write, line):
    with pytest.raises(InputError, match=r"txt: line 3: .*(uid|URL)") as caught:
        write(f"# first\n{UIDS[0]}\n{line}\n")
    assert "\n" not in str(caught.value)


def test_a_line_that_is_no_text_is_named_and_so_is_a_list_that_is_not_there(write, tmp_path):
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        write(b"example.com\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        load_opt_out(str(tmp_path / "none.txt"))


def test_wrong_lines_are_counted_over_blocks(write, monkeypatch):
    monkeypatch.setattr("clipsieve.schemas.opt_out._BLOCK_BYTES", 50)
    with pytest.raises(InputError, match="line 101:"):
        write("\n".join([*UIDS, "a b"]))


@given(st.sets(st.integers(0, 99)), st.booleans())
def test_uids_are_found_one_by_one_and_all_at_once(tmp_path_factory, listed, mixed):
    path = tmp_path_factory.mktemp("list") / "list.txt"
    lines = [UIDS[number] for number in listed]
    random.Random(0).shuffle(lines)
    path.write_text("".join(f"{line}\n" for line in [*lines, *(["example.com"] * mixed)]))
    opt_out = load_opt_out(str(path))
    assert opt_out.forbids_uids(uid_bytes(pa.array(UIDS))).tolist() == [number in listed for number in range(100)]
    assert forbids(opt_out, UIDS[7], "http://example.org/") == (7 in listed)
    assert opt_out.digest == opt_out.inputs["opt_out"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_uids_take_16_bytes_each(write):
    raw = np.random.default_rng(0).integers(0, 256, (100_000, 16), np.uint8)
    listed = write(raw.tobytes().hex("\n", 16) + "\n")
    assert listed.uids.nbytes == 1_600_000
    assert listed.forbids_uids(raw).all()
    assert not listed.forbids_uids(raw ^ 1).any()


def test_rows_are_judged_by_uid_url_and_final_url(write):
    columns = {
        "uid": UIDS[:5],
        "url": ["http://a.org/1", "http://b.org/2", "http://c.org/3", "http://d.org/4", None],
        "final_url": ["http://a.org/1", "http://cdn.b.org/2", None, "http://x.example.com/4", None],
    }
    listed = write(f"{UIDS[0]}\nhttp://c.org/3\nexample.com\n")
    assert listed.forbids_rows(pa.table(columns), "t").tolist() == [True, False, True, True, False]
    assert write(UIDS[0]).forbids_rows(pa.table({"uid": UIDS[:2]}), "t").tolist() == [True, False]
    with pytest.raises(InputError, match=r"t\.parquet: column 'url' is missing"):
        listed.forbids_rows(pa.table({"uid": UIDS[:2]}), "t.parquet")


def test_uids_alone_do_for_a_list_of_uids_or_one_applied_before(write):
    def made_with(inputs):
        return Manifest(stage="score", recipe={}, inputs=inputs, versions={}, started_at="")

    uids, places = write(UIDS[0]), write("example.com")
    uids.expect_applied(None)
    places.expect_applied(None, made_with(places.inputs))
    for before in (None, made_with({}), made_with(uids.inputs)):
        with pytest.raises(InputError, match=r"lists URLs or domains.*run score"):
            places.expect_applied(before)
