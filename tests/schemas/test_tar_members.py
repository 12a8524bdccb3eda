"""Members found by their headers alone, against tarfile."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.tar_members import places, plain_members

NAMES = st.text("abc019-./é", min_size=1, max_size=110)
KINDS = st.sampled_from([tarfile.REGTYPE] * 8 + [tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])
TIMES = st.sampled_from([0, 1234, 1234.5])
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def written(members, form):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, kind, data, time in members:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, time
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    return stream.getvalue()[:size]


def read_by_tarfile(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found = [(member, tar.extractfile(member)) for member in tar]
        return [(member.name, content.read(), member.offset) for member, content in found if content]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=1500), TIMES), min_size=1, max_size=4), FORMATS)
def test_what_is_plain_is_what_tarfile_reads_and_the_rest_is_left_to_it(members, form):
    try:
        data = written(members, form)
    except ValueError:  # a name too long for ustar
        return
    found = plain_members(data)
    if found is not None:
        assert [(member.name, member.content, member.start) for member in found] == read_by_tarfile(data)
        assert [member.end for member in found] == [*(member.start for member in found[1:]), len(data)]
    elif all(kind == tarfile.REGTYPE and name.isascii() and len(name) <= 100 for name, kind, _, _ in members):
        pytest.fail("plain members were not known as such")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 511), st.integers(0, 255))
def test_a_changed_header_is_never_read_as_another_member(at, value):
    """A header's checksum finds any one byte that changed."""
    data = bytearray(written([("0001.jpg", tarfile.REGTYPE, b"j" * 700, 0)], tarfile.USTAR_FORMAT))
    whole = plain_members(bytes(data))
    data[at] = value
    assert plain_members(bytes(data)) in (None, whole)


def test_members_with_a_pax_header_of_times_are_plain_and_with_any_other_are_not():
    members = [(f"{number}.jpg", tarfile.REGTYPE, b"j" * 700 * number, 1234.5) for number in range(3)]
    data = written(members, tarfile.PAX_FORMAT)
    found = plain_members(data)
    assert found is not None
    assert [(member.name, member.content, member.start) for member in found] == read_by_tarfile(data)
    assert [place.header - place.start for place in places(memoryview(data))] == [1024] * 3
    assert plain_members(data.replace(b"mtime=1234.5", b"xtime=1234.5", 1)) is None
    assert plain_members(data[:148] + b"0000000" + data[155:]) is None  # the pax header's checksum
    assert plain_members(written([("é.jpg", tarfile.REGTYPE, b"", 0)], tarfile.PAX_FORMAT)) is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_of_a_hundred_bytes_is_plain_and_a_longer_one_is_not(form):
    members = plain_members(written([("x" * 100, tarfile.REGTYPE, b"j", 0)], form)) or []
    assert [(member.name, member.content) for member in members] == [("x" * 100, b"j")]
    assert plain_members(written([(f"{'x' * 60}/{'y' * 60}", tarfile.REGTYPE, b"j", 0)], form)) is None


def test_what_is_cut_or_empty_is_not_plain():
    data = written([("0001.jpg", tarfile.REGTYPE, b"j" * 700, 0)], tarfile.USTAR_FORMAT)
    assert [plain_members(data[:length]) for length in (100, 512, 1100, 1535)] == [None] * 4
    assert plain_members(data + bytes(1024)) is None
    assert plain_members(b"") == []


def test_a_negative_size_does_not_lead_backwards():
    header = bytearray(written([("0001.jpg", tarfile.REGTYPE, b"", 0)], tarfile.USTAR_FORMAT))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)  # as GNU tar has it
    with pytest.raises(tarfile.HeaderError, match="size of -1024"):
        list(places(memoryview(header)))
