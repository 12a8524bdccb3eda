"""DataComp's image-based filter: its formula in numpy on clusters that are plain to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipsieve.pipelines.filters.image_based import nearest, read_images, train
from clipsieve.pipelines.filters.job import run
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import FilterOptions
from tests.pipelines.filters.filter_pool import pair, verdicts, write_pool

IN_PROCESS = ["--runner=FnApiRunner"]
GROUPS, WIDTH = 6, 16
OPTIONS = FilterOptions(rules=("near: image_based(6, seed=3)",))


def _vectors(groups: np.ndarray, seed: int) -> np.ndarray:
    """float32[N, 16] near the axis of each one's group, of any length."""
    draw = np.random.default_rng(seed)
    vectors = np.eye(GROUPS, WIDTH, dtype=np.float32)[groups] + draw.normal(0, 0.05, (len(groups), WIDTH))
    return (vectors * draw.uniform(0.5, 2, (len(groups), 1))).astype(np.float32)


@pytest.fixture
def pool(tmp_path: Path) -> tuple[str, str, np.ndarray]:
    groups = np.arange(240) % GROUPS
    scores, shards = write_pool(tmp_path, [pair(number) for number in range(240)])
    for number, part in enumerate(np.array_split(_vectors(groups, 0), 2)):
        np.savez(f"{scores}/{number:05d}.npz", img=part.astype(np.float16), txt=part)
    np.save(tmp_path / "targets.npy", _vectors(np.array([1, 4, 4]), 1))
    return scores, shards, groups


def test_the_target_sets_clusters_are_kept(pool: tuple[str, str, np.ndarray], tmp_path: Path) -> None:
    scores, shards, groups = pool
    done = run(scores, str(tmp_path / "out"), OPTIONS, IN_PROCESS, shards, str(tmp_path / "targets.npy"))
    assert done.counts.shown == {"pairs": 240, "kept": 80, "near": 160}
    kept = [not row["near"] for row in verdicts(tmp_path / "out").values()]
    assert kept == np.isin(groups, [1, 4]).tolist()
    centres = np.load(tmp_path / "out/_clusters/6-3.npz")["centres"]
    images = np.concatenate([np.load(f"{scores}/0000{number}.npz")["img"].astype(np.float32) for number in (0, 1)])
    wanted = (np.load(tmp_path / "targets.npy") @ centres.T).argmax(axis=1)
    assert kept == np.isin((images @ centres.T).argmax(axis=1), wanted).tolist()


def test_nearest_is_the_largest_inner_product() -> None:
    draw = np.random.default_rng(0)
    embeddings, centres = (draw.normal(size=(rows, 8)).astype(np.float32) for rows in (50, 7))
    assert nearest(embeddings, centres).tolist() == (embeddings @ centres.T).argmax(axis=1).tolist()
    assert nearest(embeddings[:0], centres).tolist() == []


def test_centres_are_unit_vectors_that_the_seed_decides() -> None:
    sample = read_unit(_vectors(np.arange(300) % GROUPS, 5))
    centres = train(sample, GROUPS, 7)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(centres, train(sample, GROUPS, 7))


def read_unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_embeddings_of_datacomp_and_ours_are_read(tmp_path: Path) -> None:
    vectors = _vectors(np.arange(5), 0)
    np.savez(tmp_path / "a.npz", l14_img=vectors.astype(np.float16), l14_txt=vectors)
    np.save(tmp_path / "a.npy", vectors)
    np.testing.assert_allclose(read_images(str(tmp_path / "a.npz")), read_unit(vectors), atol=1e-3)
    np.testing.assert_allclose(read_images(str(tmp_path / "a.npy")), read_unit(vectors), atol=1e-6)
    np.save(tmp_path / "flat.npy", vectors[0])
    np.savez(tmp_path / "text.npz", txt=vectors)
    (tmp_path / "no.npy").write_bytes(b"no")
    for name in ("flat.npy", "text.npz", "no.npy"):
        with pytest.raises(InputError, match=name):
            read_images(str(tmp_path / name))


def test_what_does_not_fit_is_refused(pool: tuple[str, str, np.ndarray], tmp_path: Path) -> None:
    scores, shards, _ = pool
    np.save(tmp_path / "narrow.npy", np.ones((3, 8), np.float32))
    with pytest.raises(InputError, match=r"narrow.npy: embeddings of 8 dimensions, the pool's have 16"):
        run(scores, str(tmp_path / "a"), OPTIONS, IN_PROCESS, shards, str(tmp_path / "narrow.npy"))
    np.savez(f"{scores}/00001.npz", img=np.ones((7, WIDTH), np.float16))
    with pytest.raises(InputError, match=r"00001.npz: 7 embeddings for the 120 pairs"):
        run(scores, str(tmp_path / "b"), OPTIONS, IN_PROCESS, shards, str(tmp_path / "targets.npy"))
    Path(f"{scores}/00001.npz").unlink()
    with pytest.raises(InputError, match=r"00001.npz: no such file; score with --embeddings"):
        run(scores, str(tmp_path / "c"), OPTIONS, IN_PROCESS, shards, str(tmp_path / "targets.npy"))
