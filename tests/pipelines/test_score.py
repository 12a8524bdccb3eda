"""Scores against a direct forward of the same model; what breaks, says where."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipelines import score
from schemas import tables
from schemas.errors import InputError
from schemas.models import load_model
from schemas.recipe import ScoreOptions
from schemas.samples import iter_samples
from schemas.uid import uid_of

IN_PROCESS = ["--runner=FnApiRunner"]


def options_for(model: Path, **changes) -> ScoreOptions:
    return ScoreOptions(reference=str(model), batch_size=4, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def direct_similarities(shard: Path, model_folder: Path) -> dict[str, float]:
    """Each sample alone through the model, normalised by hand."""
    reference = load_model(str(model_folder))
    found = {}
    for sample in iter_samples(str(shard)):
        image = reference.preprocess(Image.open(io.BytesIO(sample.image)))[None]
        with torch.no_grad():
            a, b, _ = reference.model(image, reference.tokenizer([sample.caption]))
            a, b = a[0].numpy(), b[0].numpy()
        found[sample.key] = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return found


def test_scores_equal_a_direct_forward(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards, out = make_shards([6, 3, 2], failed=[1, 9, 10]), tmp_path / "scores"
    manifest = score.run(str(shards), str(out), options_for(tiny_model, embeddings=True), IN_PROCESS)
    assert manifest.counts == {"pairs": 8, "shards": 3}
    for shard, rows in (("00000", [0, 2, 3, 4, 5]), ("00001", [6, 7, 8]), ("00002", [])):
        table = tables.read_table(str(out / f"{shard}.parquet"), tables.SCORES)
        expected = direct_similarities(shards / f"{shard}.tar", tiny_model)
        assert table["key"].to_pylist() == list(expected)
        assert np.allclose(table["similarity"].to_numpy(), list(expected.values()), atol=1e-5)
        source = pq.read_table(shards / f"{shard}.parquet").to_pylist()
        assert table["uid"].to_pylist() == [row["uid"] for row in source if row["status"] == "success"]
        assert len(table) == len(rows)
        embeddings = np.load(out / f"{shard}.npz")
        assert embeddings["img"].dtype == np.float16 and len(embeddings["txt"]) == len(rows)
        cosine = (embeddings["img"].astype(np.float32) * embeddings["txt"].astype(np.float32)).sum(axis=-1)
        assert np.allclose(cosine, table["similarity"].to_numpy(), atol=2e-3)


def test_caption_statistics(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    score.run(str(make_shards([1])), str(tmp_path / "scores"), options_for(tiny_model))
    row = pq.read_table(tmp_path / "scores" / "00000.parquet").to_pylist()[0]
    assert row["caption_words"] == 6 and row["caption_chars"] == len("a red red thing, number 0")
    assert row["language"] is None and row["reference"] == load_model(str(tiny_model)).digest


def test_bits_do_not_depend_on_workers_or_other_shards(
    make_shards: Callable, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "PAIRS_PER_WORKER", 9)
    options = options_for(tiny_model, embeddings=True)
    together = score.run(str(make_shards([9, 9])), str(tmp_path / "together"), options)
    alone = score.run(str(make_shards([9], name="first")), str(tmp_path / "alone"), options)
    again = score.run(str(tmp_path / "shards"), str(tmp_path / "again"), options, IN_PROCESS)
    assert contents(tmp_path / "together") == contents(tmp_path / "again")
    assert together.digest == again.digest != alone.digest
    for name in ("00000.parquet", "00000.npz"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


def test_a_second_run_keeps_what_is_done(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards, out = make_shards([3, 3]), tmp_path / "scores"
    first = score.run(str(shards), str(out), options_for(tiny_model), IN_PROCESS)
    kept = (out / "00000.parquet").stat().st_mtime_ns
    (out / "00001.parquet").unlink()
    unfinished = json.loads((out / "manifest.json").read_text()) | {"status": "running"}
    (out / "manifest.json").write_text(json.dumps(unfinished))
    second = score.run(str(shards), str(out), options_for(tiny_model), IN_PROCESS)
    assert second.digest == first.digest and (out / "00001.parquet").exists()
    assert (out / "00000.parquet").stat().st_mtime_ns == kept


def test_img2datasets_own_shards(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    score.run(str(make_shards([3], foreign=True)), str(tmp_path / "scores"), options_for(tiny_model))
    score.run(str(make_shards([3], name="ours")), str(tmp_path / "ours_scores"), options_for(tiny_model))
    foreign = pq.read_table(tmp_path / "scores" / "00000.parquet")
    assert foreign.equals(pq.read_table(tmp_path / "ours_scores" / "00000.parquet"))
    assert foreign["uid"][0].as_py() == uid_of("https://example.org/0.jpg", "a red red thing, number 0")


def test_a_truncated_tar_is_named_and_others_are_kept(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards, out = make_shards([3, 3]), tmp_path / "scores"
    tar = shards / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"00001\.tar: not a readable tar"):
        score.run(str(shards), str(out), options_for(tiny_model), IN_PROCESS)
    assert (out / "00000.parquet").exists() and not (out / "00001.parquet").exists()


def test_a_damaged_image_is_named(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards = make_shards([3])
    data = bytearray((shards / "00000.tar").read_bytes())
    start = data.index(b"\xff\xd8\xff", 5000)
    data[start : start + 3] = b"???"
    (shards / "00000.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"00000\.tar: sample 00000000\d: its image cannot be decoded"):
        score.run(str(shards), str(tmp_path / "scores"), options_for(tiny_model))


def test_a_sample_without_image_is_named(
    make_shards: Callable, write_tar: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    shards = make_shards([2])
    samples = [{"000000000.txt": b"a dog"}, {"000000001.gif": b"", "000000001.txt": b"a cat"}]
    write_tar(shards / "00000.tar", samples)
    with pytest.raises(InputError, match=r"00000\.tar: sample 000000000: no image member"):
        score.run(str(shards), str(tmp_path / "scores"), options_for(tiny_model))


def test_a_damaged_tar_header_is_not_taken_for_the_end(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards = make_shards([2])
    data = (shards / "00000.tar").read_bytes()
    (shards / "00000.tar").write_bytes(data.replace(b"000000001.jpg\0", b"000000009.jpg\0"))
    with pytest.raises(InputError, match=r"00000\.tar: not a readable tar \(no member header at byte \d+\)"):
        score.run(str(shards), str(tmp_path / "scores"), options_for(tiny_model))


def test_a_sample_that_its_parquet_does_not_know(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards = make_shards([3])
    table = pq.read_table(shards / "00000.parquet")
    pq.write_table(table.slice(0, 2), shards / "00000.parquet")
    with pytest.raises(InputError, match=r"00000\.tar: 1 samples .* the first 000000002"):
        score.run(str(shards), str(tmp_path / "scores"), options_for(tiny_model))


def test_an_unknown_reference_starts_nothing(make_shards: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-such-model"):
        score.run(str(make_shards([1])), str(tmp_path / "scores"), ScoreOptions(reference="no-such-model"))
    assert not (tmp_path / "scores").exists()
