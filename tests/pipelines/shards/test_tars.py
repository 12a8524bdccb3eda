from __future__ import annotations

import io
import tarfile
from typing import cast

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.shards.tars import TarWriter, is_sample, rename_members, tar_member
from clipsieve.schemas.samples import parse_samples

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


@given(st.lists(st.tuples(names, st.dictionaries(names, st.binary(max_size=1500), min_size=1)), max_size=6))
def test_a_tar_holds_its_members_where_the_writer_says(samples):
    stream = io.BytesIO()
    writer = TarWriter(stream)
    places = [writer.write(key, members) for key, members in samples]
    digest = writer.close()
    data = stream.getvalue()
    assert data == written_by_tarfile(samples)
    assert digest == xxhash.xxh3_128(data).hexdigest()
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        got = [(member.name, _read(tar, member)) for member in tar.getmembers()]
    assert got == [(f"{key}.{ext}", data) for key, members in samples for ext, data in members.items()]
    for (key, members), (offset, size) in zip(samples, places, strict=True):
        (sample,) = parse_samples(data[offset : offset + size], "x")
        assert (sample.key, sample.members) == (key, members)


def written_by_tarfile(samples):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples:
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _read(tar, member):
    content = tar.extractfile(member)
    return content.read() if content else None


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1, max_size=100), st.binary(max_size=2000))
def test_a_member_is_what_tarfile_makes_of_it(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    assert tar_member(name, data) == info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def test_a_name_or_content_that_does_not_fit_is_refused(tmp_path):
    assert len(tar_member("x" * 100, b"")) == 512
    with pytest.raises(ValueError, match="do not fit"):
        tar_member("x" * 101, b"")
    with (tmp_path / "8 GiB").open("wb") as stream:
        stream.truncate(8**11)  # sparse
    with pytest.raises(ValueError, match="do not fit"):
        tar_member("x", cast("bytes", np.memmap(tmp_path / "8 GiB", np.uint8, "r")))
    with pytest.raises(ValueError, match="ascii"):
        tar_member("ü", b"")


@given(names, st.dictionaries(names, st.binary(max_size=1500), min_size=1), names)
def test_renamed_members_are_those_written_under_the_other_key(key, members, other):
    def written(name):
        stream = io.BytesIO()
        TarWriter(stream).write(name, members)
        return bytearray(stream.getvalue())

    sample = written(key)
    rename_members(memoryview(sample), f"{other}-1")
    assert sample == written(f"{other}-1")
    longest = max(map(len, members)) + 1
    rename_members(memoryview(sample), "x" * (100 - longest))
    assert sample == written("x" * (100 - longest))
    with pytest.raises(ValueError, match="does not fit"):
        rename_members(memoryview(sample), "x" * (101 - longest))


@given(names, st.dictionaries(names, st.binary(max_size=1500), min_size=1))
def test_members_with_pax_headers_are_known_and_renamed(key, members):
    """As webdataset's writer makes them, whose times have fractions."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for extension, data in members.items():
            info = tarfile.TarInfo(f"{key}.{extension}")
            info.size, info.mtime = len(data), 1234.5
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    sample = bytearray(stream.getvalue()[:size])
    assert is_sample(memoryview(sample), key) and not is_sample(memoryview(sample), f"{key}0")
    assert not is_sample(memoryview(sample)[512:], f"{key}0") and not is_sample(memoryview(b"x" * 1024), key)
    rename_members(memoryview(sample), "other-1")
    (renamed,) = parse_samples(bytes(sample), "x")
    assert (renamed.key, renamed.members) == ("other-1", members)
