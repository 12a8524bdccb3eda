"""Score files of any origin as select reads them, and what is refused with its count and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.select import scored
from clipsieve.pipelines.select.scored import Sources
from clipsieve.schemas.errors import InputError

UIDS = [f"{row:032x}" for row in range(10)]


def write(path: Path, **columns: object) -> str:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return str(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_similarities_that_are_no_numbers_are_counted(tmp_path: Path, value: float | None) -> None:
    path = write(tmp_path / "00001.parquet", uid=UIDS[:3], similarity=pa.array([0.1, value, value], pa.float32()))
    with pytest.raises(InputError, match=r"00001\.parquet: 2 similarities are not finite numbers, the first in row 2"):
        list(Sources().read(path, with_uids=False))


@pytest.mark.parametrize("uid", ["xyz", "AB" * 16, "ab" * 17, "é" * 16, None])
def test_what_is_no_uid_is_named(tmp_path: Path, uid: str | None) -> None:
    path = write(tmp_path / "00001.parquet", uid=["ab" * 16, uid], similarity=[0.1, 0.2])
    with pytest.raises(InputError, match=r"00001\.parquet: 1 uids are not 32 hex digits, the first in row 2"):
        list(Sources().read(path))


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_every_type_of_score_and_uid_is_read_as_the_same(tmp_path: Path, kind: pa.DataType) -> None:
    values = np.linspace(0, 0.5, 10).astype(np.float16)
    uids = pa.array(UIDS, pa.large_string()).dictionary_encode()
    path = write(tmp_path / "a.parquet", uid=uids, score=pa.array(values.astype(kind.to_pandas_dtype()), kind))
    read = list(Sources(score_column="score").read(path))
    similarity = np.concatenate([rows.similarity for rows in read])
    assert similarity.dtype == np.float32 and np.array_equal(similarity, values.astype(np.float32))
    assert [uid for rows in read for uid in rows.uids.to_pylist()] == UIDS


RAW = [bytes.fromhex(uid) for uid in UIDS]
BINARY = (
    pa.array(RAW, pa.binary(16)),
    pa.array(RAW, pa.binary()),
    pa.array(RAW, pa.large_binary()),
    pa.array(RAW, pa.binary_view()),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array(RAW, pa.binary(16))),
)


@pytest.mark.parametrize("uids", BINARY, ids=lambda uids: str(uids.type))
def test_uids_of_16_bytes_are_read_in_scores_and_next_to_them(tmp_path: Path, uids: pa.Array) -> None:
    path = write(tmp_path / "scores" / "a.parquet", uid=uids, similarity=[0.1] * 10)
    reasons = ["dull", *[None] * 9]
    write(tmp_path / "filters" / "a.parquet", uid=uids, reject_reason=reasons)
    read = list(Sources(filters=str(tmp_path / "filters")).read(path))
    assert [uid for rows in read for uid in rows.uids.to_pylist()] == UIDS
    assert [reason for rows in read for reason in rows.reject_reason.to_pylist()] == reasons


@pytest.mark.parametrize("raw", [None, b"", b"x" * 15, b"x" * 17, b"\xff" * 32])
def test_what_is_no_uid_of_16_bytes_is_named(tmp_path: Path, raw: bytes | None) -> None:
    path = write(tmp_path / "a.parquet", uid=pa.array([b"x" * 16, raw]), similarity=[0.1, 0.2])
    with pytest.raises(InputError, match=r"a\.parquet: .*uids? .*32 hex digits"):
        list(Sources().read(path))


def test_a_row_that_is_not_eligible_may_have_no_score(tmp_path: Path) -> None:
    columns = {"similarity": pa.array([0.1, None, 0.3]), "status": ["ok", "lost", "ok"]}
    path = write(tmp_path / "a.parquet", uid=UIDS[:3], **columns)
    (rows,) = Sources(where="status == 'ok'").read(path)
    assert rows.is_eligible.tolist() == [True, False, True]
    assert rows.reject_reason.to_pylist() == [None, "where", None]


def test_reasons_stand_by_their_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The opt-out list's over a filter's, a filter's over the condition's; read in batches of other borders."""
    monkeypatch.setattr(scored, "BATCH_ROWS", 4)
    path = write(tmp_path / "scores" / "a.parquet", uid=UIDS, similarity=[0.1] * 10, words=list(range(10)))
    reasons = pa.array([None, "short", "short", *[None] * 7])
    write(tmp_path / "filters" / "a.parquet", uid=UIDS, reject_reason=reasons)
    duplicates = pa.array([*[None] * 8, UIDS[0], UIDS[0]], pa.string())
    write(tmp_path / "dedup" / "a.parquet", uid=UIDS, duplicate_of=duplicates)
    (tmp_path / "list.txt").write_text(f"{UIDS[2]}\n{UIDS[9]}\n")
    beside = {name: str(tmp_path / name) for name in ("filters", "dedup")}
    sources = Sources(where="words > 0", opt_out=str(tmp_path / "list.txt"), **beside)
    read = list(sources.read(path, with_uids=False))
    assert [len(rows.similarity) for rows in read] == [4, 4, 2]
    found = [reason for rows in read for reason in rows.reject_reason.to_pylist()]
    assert found == ["where", "short", "opted_out", *[None] * 6, "opted_out"]
    assert np.concatenate([rows.is_eligible for rows in read]).tolist() == [*[False] * 3, *[True] * 5, *[False] * 2]


@pytest.mark.parametrize(
    ("uids", "message"),
    [
        (UIDS[:9], r"filters/a\.parquet: has fewer rows than .*scores/a\.parquet"),
        ([*UIDS, "f" * 32], r"filters/a\.parquet: has more rows than .*scores/a\.parquet"),
        ([*UIDS[:8], *UIDS[:7:-1]], r"filters/a\.parquet: 2 uids are not those of .*the first in row 9"),
        (None, r"filters/a\.parquet: no such file"),
    ],
)
def test_files_of_other_rows_beside_the_scores_are_refused(
    tmp_path: Path, uids: list[str] | None, message: str
) -> None:
    path = write(tmp_path / "scores" / "a.parquet", uid=UIDS, similarity=[0.1] * 10)
    if uids:
        write(tmp_path / "filters" / "a.parquet", uid=uids, reject_reason=pa.nulls(len(uids), pa.string()))
    with pytest.raises(InputError, match=message):
        list(Sources(filters=str(tmp_path / "filters")).read(path))


def test_a_score_column_that_is_missing_or_text_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", uid=UIDS[:1], score=["high"])
    with pytest.raises(InputError, match=r"column 'similarity' is missing \(scores table\); it has: uid, score"):
        list(Sources().read(path))
    with pytest.raises(InputError, match=r"column 'score' cannot be read as float"):
        list(Sources(score_column="score").read(path))
