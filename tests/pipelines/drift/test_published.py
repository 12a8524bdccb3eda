"""The published table: its columns by the names that pools give them, and its rows joined to the pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.drift.pairs import DownloadedPairs, keys_of
from clipsieve.pipelines.drift.published import PublishedColumns, find_columns, join
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import DriftOptions
from clipsieve.schemas.uid import uid_of

DATACOMP = ["uid", "url", "text", "original_width", "original_height", "clip_b32_similarity_score",
            "clip_l14_similarity_score", "face_bboxes", "sha256"]  # fmt: skip
LAION = ["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"]


def columns_of(names: list[str], *said: str, is_scored: bool = True) -> PublishedColumns:
    return find_columns(names, "m.parquet", DriftOptions(columns=said), is_scored)


def test_datacomps_and_laions_names_are_known() -> None:
    found = columns_of(DATACOMP, "similarity=clip_l14_similarity_score")
    sizes = ("original_width", "original_height")
    assert (found.uid, found.width, found.height, found.sha256) == ("uid", *sizes, "sha256")
    assert (found.similarities, found.embedding) == ({"similarity": "clip_l14_similarity_score"}, "l14_img")
    assert found.read == ["uid", *sizes, "sha256", "clip_l14_similarity_score"]
    found = columns_of(LAION)
    assert found.by_url and (found.url, found.caption, found.width, found.height) == ("URL", "TEXT", "WIDTH", "HEIGHT")
    assert (found.similarities, found.embedding) == ({"similarity": "similarity"}, "img")
    assert found.read == ["URL", "TEXT", "WIDTH", "HEIGHT", "similarity"]


def test_what_is_said_comes_before_what_is_known() -> None:
    both = ["similarity=clip_b32_similarity_score", "similarity_2=clip_l14_similarity_score"]
    found = columns_of([*DATACOMP, "w"], *both, "width=w", "sha256=none", "embedding=mine")
    assert found.similarities == dict(each.split("=") for each in both)
    assert (found.width, found.height, found.sha256, found.embedding) == ("w", "original_height", None, "mine")
    assert columns_of(DATACOMP, "uid=none", "similarity=none").by_url
    assert columns_of(DATACOMP, "similarity=none", "embedding=none").similarities == {}
    assert columns_of(DATACOMP, is_scored=False).similarities == {}


@pytest.mark.parametrize(
    ("names", "said", "message"),
    [
        (["link", "words"], (), "neither uid nor url and caption are among its columns, link, words"),
        (["url", "words"], (), "neither uid nor url and caption"),
        (DATACOMP, (), "has clip_l14_similarity_score and clip_b32_similarity_score; name the one"),
        (DATACOMP, ("similarity=clip",), "column 'clip' of `columns` is missing; it has: uid, url"),
        (DATACOMP, ("uid=key", "similarity=none"), "column 'key' of `columns` is missing"),
    ],
)
def test_what_cannot_be_told_is_named(names: list[str], said: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^m.parquet: {message}"):
        columns_of(names, *said)


@pytest.mark.parametrize("said", ["width", "width=", "size=w", "similarity_1=x", "=x"])
def test_what_is_no_name_and_column_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="String should match pattern"):
        DriftOptions(columns=(said,))
    with pytest.raises(ValueError, match="names width twice"):
        DriftOptions(columns=("width=a", "width=b"))


def pairs_of(uids: list[str]) -> DownloadedPairs:
    rows = len(uids)
    nothing = np.zeros(rows, np.uint64)
    return DownloadedPairs(
        uids=pa.chunked_array([uids], pa.string()),
        keys=keys_of(pa.array(uids, pa.string()), "pairs"),
        sizes=np.zeros((rows, 2), np.int32),
        sha256=nothing,
        phash=nothing,
        urls=nothing,
        hosts=pa.chunked_array([pa.array([None] * rows, pa.string()).dictionary_encode()]),
        similarities=np.full((rows, 1), np.nan, np.float32),
    )


def write(folder: Path, parts: list[dict[str, Any]]) -> list[str]:
    paths = [folder / f"{number}.parquet" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        pq.write_table(pa.table(part), path)
    return [str(path) for path in paths]


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 500)), min_size=1, max_size=12)


@settings(max_examples=50)
@given(ROWS, st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 3))
def test_rows_are_joined_by_uid_and_of_one_that_repeats_the_first_counts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], asked: list[int], files: int
) -> None:
    uids = [f"{number:032x}" for number, _ in rows]
    parts = [
        {"uid": [uids[row] for row in part], "width": [rows[row][1] for row in part]}
        for part in np.array_split(np.arange(len(rows)), files)
        if len(part)
    ]
    paths = write(tmp_path_factory.mktemp("published"), parts)
    expected: dict[str, int] = {}
    for uid, (_, width) in zip(uids, rows, strict=True):
        expected.setdefault(uid, width)
    wanted = [f"{number:032x}" for number in asked]
    columns = columns_of(["uid", "width"])
    if not set(wanted) & set(uids):
        with pytest.raises(InputError, match=f"none of the {len(wanted)} pairs is in it, by column 'uid'"):
            join(paths, columns, pairs_of(wanted), None)
        return
    found = join(paths, columns, pairs_of(wanted), None)
    assert found.is_there.tolist() == [uid in expected for uid in wanted]
    assert found.sizes[:, 0].tolist() == [expected.get(uid, 0) for uid in wanted]
    assert not found.sizes[:, 1].any() and not found.sha256.any() and found.similarities.shape == (len(wanted), 0)


def test_a_table_without_uids_is_joined_by_url_and_caption(tmp_path: Path) -> None:
    paths = write(tmp_path, [{"URL": ["a", "b", None], "TEXT": ["x", None, "z"], "WIDTH": [1.0, 2.0, np.nan]}])
    found = join(paths, columns_of(["URL", "TEXT", "WIDTH"]), pairs_of([uid_of("b", ""), uid_of("b", "x")]), None)
    assert (found.is_there.tolist(), found.sizes[:, 0].tolist()) == ([True, False], [2, 0])


UIDS = [f"{number:032x}" for number in range(3)]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"uid": ["7"]}, "column 'uid' holds a value that is not 32 hex digits"),
        ({"uid": UIDS, "sha256": ["ab", None, None]}, "column 'sha256' holds a value that is not 64 hex digits"),
        ({"uid": UIDS, "width": ["wide", "1", "2"]}, "column 'width' is string, not numbers"),
        ({"uid": UIDS, "similarity": [[1], [2], [3]]}, "column 'similarity' is list<.*>, not numbers"),
    ],
)
def test_values_that_are_not_what_their_column_is_for(tmp_path: Path, part: dict[str, Any], message: str) -> None:
    (path,) = write(tmp_path, [part])
    with pytest.raises(InputError, match=f"0.parquet: {message}"):
        join([path], columns_of(list(part)), pairs_of(UIDS), None)


def test_every_file_has_the_columns_of_the_first(tmp_path: Path) -> None:
    paths = write(tmp_path, [{"uid": UIDS, "width": [1, 2, 3]}, {"uid": UIDS}])
    with pytest.raises(InputError, match=r"1.parquet: column 'width', which the files before it have, is missing"):
        join(paths, columns_of(["uid", "width"]), pairs_of(UIDS), None)


def test_embeddings_next_to_the_table_are_compared(tmp_path: Path) -> None:
    (path,) = write(tmp_path, [{"uid": UIDS}])
    draw = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float16)
    draw[1, 2] = 0
    np.savez(tmp_path / "0.npz", img=draw[1])
    own = draw[0][[2, 0, 1]]
    found = join([path], columns_of(["uid"]), pairs_of([UIDS[2], UIDS[0], UIDS[1]]), own)
    one, other = own.astype(np.float64), draw[1][[2, 0, 1]].astype(np.float64)
    expected = (one * other).sum(1)[1:] / np.linalg.norm(one[1:], axis=1) / np.linalg.norm(other[1:], axis=1)
    np.testing.assert_allclose(found.cosine[1:], expected, rtol=1e-5)
    assert np.isnan(found.cosine[0])  # an embedding without length has none


@pytest.mark.parametrize(
    ("arrays", "said", "message"),
    [
        ({"l14_img": np.ones((3, 8))}, (), "0.npz: no embeddings 'img' there; name them with `columns`"),
        ({"img": np.ones((2, 8))}, (), "0.npz: 'img' is not a row for each row of"),
        ({"mine": np.ones((3, 4))}, ("embedding=mine",), "embeddings have 4 dimensions, the scores' 8; score with"),
    ],
)
def test_embeddings_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: tuple[str, ...], message: str
) -> None:
    (path,) = write(tmp_path, [{"uid": UIDS}])
    np.savez(tmp_path / "0.npz", **arrays)  # type: ignore[arg-type]  # numpy names its other parameters bool
    with pytest.raises(InputError, match=message):
        join([path], columns_of(["uid"], *said), pairs_of(UIDS), np.ones((3, 8), np.float16))
