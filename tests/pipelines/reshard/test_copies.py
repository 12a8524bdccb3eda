"""Copied samples are the bytes of their ranges, wherever they lie, in batches of any size."""

from __future__ import annotations

import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.reshard import copies as sample_copies
from clipsieve.pipelines.reshard.copies import Ranges, copy_samples
from clipsieve.pipelines.shards.tars import tar_member
from clipsieve.schemas import ranges as byte_ranges
from clipsieve.schemas.errors import InputError


def samples_of(number: int, sizes: list[int]) -> list[bytes]:
    return [tar_member(f"k{number}k{index}.jpg", bytes([index % 251]) * size) for index, size in enumerate(sizes)]


def ranges_of(tars: dict[str, list[bytes]], order: list[tuple[str, int]]) -> Ranges:
    starts = {path: np.cumsum([0, *map(len, samples)]) for path, samples in tars.items()}
    chosen = [(path, index, tars[path][index]) for path, index in order]
    keys = [data[: data.index(b".")].decode() for _, _, data in chosen]
    where = np.array([starts[path][index] for path, index, _ in chosen], np.int64)
    return Ranges([path for path, _ in order], keys, where, np.array([len(data) for *_, data in chosen]), keys)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("remote", [False, True])
def test_a_copy_is_the_ranges_one_after_another(tmp_path_factory, data, remote: bool) -> None:
    root = "memory://copies" if remote else str(tmp_path_factory.mktemp("tars"))
    sizes = st.lists(st.integers(0, 3000), min_size=1, max_size=12)
    tars = {f"{root}/{number}.tar": samples_of(number, data.draw(sizes)) for number in range(3)}
    for path, samples in tars.items():
        with fsspec.open(path, "wb") as stream:
            stream.write(b"".join(samples))
    everything = [(path, index) for path, samples in tars.items() for index in range(len(samples))]
    order = data.draw(st.permutations(everything))
    ranges, out = ranges_of(tars, order), f"{root}/out.tar"
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.sampled_from([512, 5000, 1 << 20]))
        patch.setattr(sample_copies, "_REMOTE_BATCH_BYTES" if remote else "_BATCH_BYTES", size)
        patch.setattr(byte_ranges, "_OPEN_FILES", 2)
        patch.setattr(sample_copies, "_ASKED_AHEAD", 3)
        digest = copy_samples(ranges, out)
    expected = b"".join(tars[path][index] for path, index in order) + bytes(1024)
    expected += bytes(-len(expected) % tarfile.RECORDSIZE)
    with fsspec.open(out, "rb") as stream:
        assert stream.read() == expected
    assert digest == xxhash.xxh3_128(expected).hexdigest()
    assert ranges.offsets.tolist() == np.cumsum([0, *ranges.sizes])[:-1].tolist()


@pytest.mark.parametrize("remote", [False, True])
def test_a_range_that_is_no_sample_of_its_key_is_refused(tmp_path: Path, remote: bool) -> None:
    path = "memory://copies/wrong.tar" if remote else str(tmp_path / "wrong.tar")
    samples = samples_of(0, [700, 700])
    with fsspec.open(path, "wb") as stream:
        stream.write(b"".join(samples)[:-512])
    for order, shift in ([(path, 0)], 512), ([(path, 1)], 0):
        ranges = ranges_of({path: samples}, order)
        wrong = Ranges(ranges.paths, ranges.keys, ranges.starts + shift, ranges.sizes, ranges.keys)
        with pytest.raises(InputError, match=rf"wrong\.tar: no sample {ranges.keys[0]} at byte {wrong.starts[0]}"):
            copy_samples(wrong, str(tmp_path / "out.tar"))
    assert not (tmp_path / "out.tar").exists()
