"""Similarities of stored embeddings against numpy in double precision; what does not fit together is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from clipsieve.pipelines.score import stored as stored_embeddings
from clipsieve.pipelines.score.heads import load_heads
from clipsieve.pipelines.score.stored import list_parts, score_stored, stored_width
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import ScoreOptions

ROWS, WIDTH = 7, 12
OPTIONS = ScoreOptions(references=("stored",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A part "03" of seven pairs, its embeddings not of unit length, in fp16 as clip-retrieval has them."""
    rng = np.random.default_rng(0)
    for name in ("img_emb", "text_emb", "metadata"):
        (tmp_path / name).mkdir()
    for name in ("img_emb", "text_emb"):
        np.save(tmp_path / name / f"{name}_03.npy", rng.normal(size=(ROWS, WIDTH)).astype(np.float16))
    metadata = {
        "image_path": [f"{row:09d}" for row in range(ROWS)],
        "caption": [None if row == 2 else f"thing {row}" for row in range(ROWS)],
        "uid": [f"{row:032x}" for row in range(ROWS)],
    }
    pq.write_table(pa.table(metadata), tmp_path / "metadata" / "metadata_03.parquet")
    return tmp_path


@pytest.mark.parametrize("block_rows", [3, 100])
def test_cosines_and_heads_of_stored_embeddings(folder: Path, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_embeddings, "_BLOCK_ROWS", block_rows)
    (part,) = list_parts(str(folder))
    assert part.name == "metadata_03" and stored_width(part) == WIDTH
    weight = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    save_file({"weight": weight, "bias": np.array(1, np.float32)}, folder / "h.safetensors")
    scored = score_stored(part, OPTIONS, load_heads([f"aesthetic={folder / 'h.safetensors'}"], WIDTH), None)
    image, text = (np.load(path).astype(float) for path in (part.image, part.text))
    image, text = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (image, text))
    assert np.allclose(scored.table["similarity"].to_numpy(), (image * text).sum(axis=1), atol=1e-6)
    assert np.allclose(scored.table["aesthetic"].to_numpy(), image @ weight + 1, atol=1e-5)
    assert scored.table["caption_chars"].to_pylist() == [7, 7, 0, 7, 7, 7, 7]


def test_listed_pairs_are_left_out(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{2:032x}\n{5:032x}\n")
    (part,) = list_parts(str(folder))
    every, kept = (score_stored(part, OPTIONS, (), path).table for path in (None, str(folder / "list.txt")))
    assert kept.equals(every.take([0, 1, 3, 4, 6]))


def truncate(folder: Path) -> None:
    path = folder / "text_emb" / "text_emb_03.npy"
    path.write_bytes(path.read_bytes()[:-4])


def save(folder: Path, array: np.ndarray, **options: bool) -> None:
    np.save(folder / "text_emb" / "text_emb_03.npy", array, **options)


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (truncate, r"text_emb_03\.npy: ends before its 7 rows do"),
    (lambda f: save(f, np.ones((ROWS - 1, WIDTH), "f2")), r"text_emb_03\.npy: holds 6 x 12 numbers, not 7 x 12"),
    (lambda f: save(f, np.ones((ROWS, WIDTH + 1), "f2")), r"text_emb_03\.npy: holds 7 x 13 numbers, not 7 x 12"),
    (lambda f: save(f, np.ones(ROWS, "f2")), r"text_emb_03\.npy: holds float16 of shape \[7\]"),
    (lambda f: save(f, np.array([[None]]), allow_pickle=True), r"text_emb_03\.npy: holds object of shape \[1, 1\]"),
    (
        lambda f: save(f, np.eye(ROWS, WIDTH, WIDTH - 3, "f2")),
        r"metadata_03\.parquet: 4 pairs have no finite similarity",
    ),
    (lambda f: (f / "text_emb" / "text_emb_03.npy").write_bytes(b"x"), r"text_emb_03\.npy: not a readable npy file"),
    (lambda f: (f / "img_emb" / "img_emb_03.npy").unlink(), r"img_emb_03\.npy: no such file"),
    (lambda f: (f / "metadata" / "metadata_03.parquet").unlink(), "no embeddings in clip-retrieval's layout"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_what_does_not_fit_together_is_named(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message):
        score_stored(list_parts(str(folder))[0], OPTIONS, (), None)


def test_without_uid_it_follows_from_url_and_caption(folder: Path) -> None:
    path = folder / "metadata" / "metadata_03.parquet"
    pq.write_table(pq.read_table(path).drop(["uid"]), path)
    with pytest.raises(InputError, match=r"metadata_03\.parquet: column 'url' is missing"):
        score_stored(list_parts(str(folder))[0], OPTIONS, (), None)
