import io
import tarfile

import pytest

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.samples import iter_samples, parse_samples, read_samples
from clipsieve.schemas.shards import list_shards


def write_tar(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(data) if kind == tarfile.REGTYPE else 0
            member.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            tar.addfile(member, io.BytesIO(data))
    return str(path)


PAIR = [("0001.jpg", b"j" * 700), ("0001.txt", b"a cat"), ("0002.webp", b"w"), ("0002.json", b'{"uid": "u"}')]


def test_samples_come_in_order_with_their_place(tmp_path):
    path = write_tar(tmp_path / "a.tar", PAIR)
    first, second = iter_samples(path)
    assert (first.key, first.image, first.caption) == ("0001", b"j" * 700, "a cat")
    assert (second.key, second.image, second.caption, second.metadata) == ("0002", b"w", "", {"uid": "u"})
    # A header of 512 bytes, data padded to 512: 512 + 1024 + 512 + 512, and 4 times 512.
    assert (first.offset, first.size, second.offset, second.size) == (0, 2560, 2560, 2048)


def test_a_range_cut_at_the_borders_is_the_sample(tmp_path):
    path = write_tar(tmp_path / "a.tar", PAIR)
    second = list(iter_samples(path))[1]
    cut = (tmp_path / "a.tar").read_bytes()[second.offset : second.offset + second.size]
    assert [(sample.key, sample.members) for sample in parse_samples(cut, path)] == [("0002", second.members)]


@pytest.mark.parametrize("remote", [False, True])
def test_samples_at_places_are_those_of_the_stream(tmp_path, remote):
    path = write_tar(tmp_path / "a.tar", PAIR)
    held = list(iter_samples(path))
    if remote:
        path = "memory://places/a.tar"
        files.write_bytes(path, (tmp_path / "a.tar").read_bytes())
    places = [(path, sample.offset, sample.size) for sample in reversed(held)]
    read = read_samples(places, RangeReader())
    assert [(sample.key, sample.members) for sample in read] == [(s.key, s.members) for s in reversed(held)]
    assert read_samples([], RangeReader()) == []


@pytest.mark.parametrize(
    ("start", "size", "said"),
    [
        (0, 4608, "2 samples, not 1, at byte 0"),
        (4608, 1024, "0 samples, not 1, at byte 4608"),
        (512, 2048, "not a readable tar"),
        (2560, 1700, "not a readable tar"),
    ],
)
def test_a_place_that_is_not_one_samples_is_refused(tmp_path, start, size, said):
    path = write_tar(tmp_path / "a.tar", PAIR)
    with pytest.raises(InputError, match=rf"a\.tar: {said}"):
        read_samples([(path, start, size)], RangeReader())


@pytest.mark.parametrize("name", ["../../etc/cron.d/x.txt", "/abs.txt", "a/b.txt", "UP.txt", "a.b.txt", "noextension"])
def test_a_member_with_another_name_is_refused(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", [(name, b"x")])
    with pytest.raises(InputError, match=r"a\.tar: member .* is not a plain KEY.EXTENSION file"):
        list(iter_samples(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_regular_files_are_read(tmp_path, kind):
    path = write_tar(tmp_path / "a.tar", [("0001.jpg", b"")], kind)
    with pytest.raises(InputError, match=r"a\.tar"):
        list(iter_samples(path))


def test_a_member_that_stands_twice_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0001.jpg", b"x"), ("0001.jpg", b"y")])
    with pytest.raises(InputError, match=r"member '0001.jpg' is duplicated"):
        list(iter_samples(path))


@pytest.mark.parametrize("length", [100, 900, 1500])
def test_a_truncated_tar_is_refused(tmp_path, length):
    path = write_tar(tmp_path / "a.tar", PAIR)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:length])
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar"):
        list(iter_samples(path))


def test_only_shards_with_stats_are_finished(tmp_path):
    for name in ("00001.tar", "00001_stats.json", "00002.tar", ".00003.tar.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert list_shards(str(tmp_path)) == ["00001"]
    with pytest.raises(InputError, match="no finished shard"):
        list_shards(str(tmp_path / "nowhere"))
