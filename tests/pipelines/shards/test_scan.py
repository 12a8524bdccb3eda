"""Where the members of a tar lie, by their headers, next to what tarfile and the reader of whole tars say."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.shards.scan import scan_samples
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import MemberNaming

NAMING = MemberNaming(captions=("txt", "json:caption"))
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)

names = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["", "a/", "Photos/2020.05/", "x" * 120 + "/"]),
    st.text("abcXYZ019._-é", min_size=1, max_size=12).filter(lambda text: text[-1] not in "/"),
    st.sampled_from(["jpg", "JPEG", "png", "txt", "json", "cls"]),
)
members = st.lists(st.tuples(names, st.integers(0, 3_000), st.sampled_from([0.0, 1.5])), max_size=12)


def write_tar(path, content, tar_format=tarfile.USTAR_FORMAT, kinds=()):
    with tarfile.open(path, "w", format=tar_format) as tar:
        for number, (name, size, mtime) in enumerate(content):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, mtime
            if number in kinds:
                info.type, info.size = tarfile.DIRTYPE, 0
            tar.addfile(info, io.BytesIO(bytes([number + 1]) * info.size))
    return str(path)


def grouped(path):
    """The samples as tarfile finds their members."""
    samples: list[list[Any]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            split = NAMING.split(member.name) if member.isreg() else None
            if split:
                end = member.offset_data + -(-member.size // 512) * 512
                if samples and samples[-1][0] == split[0]:
                    samples[-1][2] = end
                else:
                    samples.append([split[0], member.offset, end])
    return samples


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members, st.sampled_from(FORMATS), st.sets(st.integers(0, 11)))
def test_samples_lie_where_tarfile_finds_them(tmp_path, content, tar_format, kinds):
    try:
        path = write_tar(tmp_path / "0.tar", content, tar_format, kinds)
    except (ValueError, UnicodeEncodeError):
        return  # no name of that format
    assert [[sample.key, sample.start, sample.end] for sample in scan_samples(path, NAMING)] == grouped(path)


def test_parts_are_known_by_kind_and_the_first_of_a_kind_counts(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("a.jpeg", 10, 0), ("a.jpg", 20, 0), ("a.txt", 3, 0), ("a.Json", 4, 0)])
    (sample,) = scan_samples(path, NAMING)
    assert {kind: part.size for kind, part in sample.parts.items()} == {"jpg": 10, "txt": 3, "json": 4}


@pytest.mark.parametrize("cut", [511, 700, 1_024 + 100, 1_024 + 512, 2_000])
def test_a_truncated_tar_is_named(tmp_path, cut):
    path = write_tar(tmp_path / "0.tar", [("a.jpg", 500, 0), ("a.txt", 900, 0)])
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[:cut])
    with pytest.raises(InputError, match=r"0.tar: (truncated|not a readable tar)"):
        list(scan_samples(path, NAMING))


@pytest.mark.parametrize("place", [0, 130, 150, 1_024 + 20])
def test_a_damaged_header_is_named(tmp_path, place):
    path = write_tar(tmp_path / "0.tar", [("a.jpg", 500, 0), ("a.txt", 900, 0)])
    data = bytearray((tmp_path / "0.tar").read_bytes())
    data[place] ^= 0x55
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"0.tar: not a readable tar"):
        list(scan_samples(path, NAMING))


def test_links_are_no_members(tmp_path):
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO())
    assert [sample.key for sample in scan_samples(str(path), NAMING)] == ["c"]
