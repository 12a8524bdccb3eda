"""A teacher's embeddings by uid, from what `clipsieve score --embeddings` writes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import uid_bytes, uid_of
from clipsieve.training.data.teacher import Teacher, build_teacher

PAIRS, WIDTH = 30, 6
UIDS = [uid_of(str(number), "") for number in range(PAIRS)]


def uids_of(indices):
    return as_strings(uid_bytes(pa.array([UIDS[index] for index in indices], pa.string())))


@pytest.fixture
def embeddings():
    values = np.random.default_rng(0).normal(size=(PAIRS, 2, WIDTH))
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float16)


@pytest.fixture
def scores(embeddings, tmp_path):
    """Two shards of scores, in no order, which lack the pairs 4 and 20."""
    folder = tmp_path / "scores"
    folder.mkdir()
    numbers = np.random.default_rng(1).permutation([n for n in range(PAIRS) if n not in (4, 20)])
    for part, own in enumerate(np.split(numbers, [11])):
        pq.write_table(pa.table({"uid": [UIDS[n] for n in own]}), folder / f"{part:05d}.parquet")
        np.savez(folder / f"{part:05d}.npz", img=embeddings[own, 0], txt=embeddings[own, 1], img_2=embeddings[own, 0])
    return folder


def test_each_pair_has_the_embeddings_of_its_uid_or_none(scores, embeddings, tmp_path):
    build_teacher(str(scores), str(tmp_path))
    teacher = Teacher(str(tmp_path), uids_of)
    indices = np.random.default_rng(2).permutation(PAIRS)
    expected = embeddings.copy()
    expected[[4, 20]] = 0
    found = teacher(indices)
    assert found.dtype == np.float16 and np.array_equal(found, expected[indices])
    assert teacher.lacking(PAIRS) == 2


def test_what_are_no_embeddings_is_named(scores, tmp_path):
    np.savez(scores / "00001.npz", img=np.zeros((3, WIDTH)), txt=np.zeros((3, WIDTH)))
    with pytest.raises(InputError, match=r"00001.npz: holds embeddings of shape \[3, 2, 6\], not of the 17 rows"):
        build_teacher(str(scores), str(tmp_path))
    (scores / "00001.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"00001.npz: not embeddings, img and txt as"):
        build_teacher(str(scores), str(tmp_path))
    (scores / "00001.npz").unlink()
    with pytest.raises(InputError, match=r"00001.npz: no such file; `teacher` is a folder of scores made with"):
        build_teacher(str(scores), str(tmp_path))
