from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tars import TarWriter, tar_member
from schemas.samples import parse_samples

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


@given(st.lists(st.tuples(names, st.dictionaries(names, st.binary(max_size=1500), min_size=1)), max_size=6))
def test_a_tar_holds_its_members_where_the_writer_says(samples):
    stream = io.BytesIO()
    writer = TarWriter(stream)
    places = [writer.write(key, members) for key, members in samples]
    digest = writer.close()
    data = stream.getvalue()
    assert digest == hashlib.sha256(data).hexdigest()
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        got = [(member.name, _read(tar, member)) for member in tar.getmembers()]
    assert got == [(f"{key}.{ext}", data) for key, members in samples for ext, data in members.items()]
    for (key, members), (offset, size) in zip(samples, places, strict=True):
        (sample,) = parse_samples(data[offset : offset + size], "x")
        assert (sample.key, sample.members) == (key, members)


def _read(tar, member):
    content = tar.extractfile(member)
    return content.read() if content else None


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1, max_size=100), st.binary(max_size=2000))
def test_a_member_is_what_tarfile_makes_of_it(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    assert tar_member(name, data) == info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def test_a_name_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        tar_member("x" * 101, b"")
    with pytest.raises(ValueError, match="ascii"):
        tar_member("ü", b"")
