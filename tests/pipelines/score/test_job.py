"""Scores against a direct forward of the same model; what breaks, says where."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.verify.scores import check_scores
from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import load_model, save_model
from clipsieve.schemas.options import ScoreOptions, parse_options
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.uid import uid_of

IN_PROCESS = ["--runner=FnApiRunner"]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of other weights, another image size and another context than the tiny one."""
    folder = tmp_path_factory.mktemp("other-model")
    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 24, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 1024, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(1)
    preprocess_cfg = {"size": 24, "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    save_model(str(folder), open_clip.CLIP(**model_cfg), model_cfg, preprocess_cfg)
    return folder


def options_for(model: Path, **changes) -> ScoreOptions:
    return ScoreOptions(references=(str(model),), batch_size=4, **changes)


def similarities(folder: Path, column: str = "similarity") -> np.ndarray:
    return np.concatenate([pq.read_table(path)[column].to_numpy() for path in sorted(folder.glob("*.parquet"))])


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
    assert manifest.counts.shown == {"pairs": 8, "shards": 3}
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
    with pytest.raises(InputError, match=r"00000\.tar: sample 00000000\d: the image cannot be decoded"):
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
        score.run(str(make_shards([1])), str(tmp_path / "scores"), ScoreOptions(references=("no-such-model",)))
    assert not (tmp_path / "scores").exists()


def test_two_references_in_one_pass_are_those_of_two_passes(
    make_shards: Callable, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    shards, models = str(make_shards([5, 2], failed=[5, 6])), (tiny_model, other_model)
    digests = [load_model(str(model)).digest for model in models]
    for name, references in (("both", models), ("first", models[:1]), ("second", models[1:])):
        options = ScoreOptions(references=tuple(map(str, references)), batch_size=4, embeddings=True)
        score.run(shards, str(tmp_path / name), options, IN_PROCESS)
    both = pq.read_table(tmp_path / "both" / "00000.parquet")
    assert both["reference"].unique().to_pylist() + both["reference_2"].unique().to_pylist() == digests
    stored = np.load(tmp_path / "both" / "00000.npz")
    for number, name in enumerate(("first", "second")):
        suffix = "_2" * number
        assert np.array_equal(similarities(tmp_path / "both", f"similarity{suffix}"), similarities(tmp_path / name))
        alone = np.load(tmp_path / name / "00000.npz")
        for kind in ("img", "txt"):
            assert np.array_equal(stored[kind + suffix], alone[kind])
    empty = pq.read_table(tmp_path / "both" / "00001.parquet")
    assert empty.schema.equals(both.schema) and len(empty) == 0
    assert np.load(tmp_path / "both" / "00001.npz")["txt_2"].shape == (0, 16)


def test_bf16_is_near_fp32_and_says_so(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    shards = str(make_shards([6]))
    for precision in ("fp32", "bf16"):
        options = options_for(tiny_model, precision=precision)
        made = score.run(shards, str(tmp_path / precision), options, IN_PROCESS)
        table = pq.read_table(tmp_path / precision / "00000.parquet")
        assert table["precision"].unique().to_pylist() == [precision] == [made.asked["precision"]]
        assert table["similarity"].type == "float"
    exact, rounded = similarities(tmp_path / "fp32"), similarities(tmp_path / "bf16")
    assert 0 < np.abs(exact - rounded).max() < 0.02


def test_a_head_is_a_column_and_its_file_an_input(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    save_file({"weight": weight, "bias": np.array([0.5], np.float32)}, tmp_path / "head.safetensors")
    heads = (f"aesthetic={tmp_path / 'head.safetensors'}",)
    shards, out = str(make_shards([5])), tmp_path / "scores"
    made = score.run(shards, str(out), options_for(tiny_model, heads=heads, embeddings=True), IN_PROCESS)
    image = np.load(out / "00000.npz")["img"].astype(np.float32)
    assert np.allclose(similarities(out, "aesthetic"), image @ weight[0] + 0.5, atol=5e-3)
    save_file({"weight": weight + 1, "bias": np.array([0.5], np.float32)}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=f"`head_aesthetic` was '{made.inputs['head_aesthetic']}'"):
        score.run(shards, str(out), options_for(tiny_model, heads=heads, embeddings=True), IN_PROCESS)


def test_a_head_that_does_not_fit_starts_nothing(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    save_file({"weight": np.zeros(512, np.float32), "bias": np.zeros(1, np.float32)}, tmp_path / "h.safetensors")
    options = options_for(tiny_model, heads=(f"nsfw={tmp_path / 'h.safetensors'}",))
    with pytest.raises(InputError, match=r"h\.safetensors: 'weight' has shape \[512\], .* need \[16\] or \[1, 16\]"):
        score.run(str(make_shards([1])), str(tmp_path / "scores"), options)
    assert not (tmp_path / "scores").exists()


def test_languages_are_the_identifiers(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    score.run(str(make_shards([3])), str(tmp_path / "scores"), options_for(tiny_model, language=True), IN_PROCESS)
    assert pq.read_table(tmp_path / "scores" / "00000.parquet")["language"].to_pylist() == ["en"] * 3


@pytest.mark.parametrize("has_parquet", [True, False])
def test_datacomps_shards(make_shards: Callable, tiny_model: Path, tmp_path: Path, has_parquet: bool) -> None:
    """Names of eight digits and a uid in each json; its resharder leaves no Parquet."""
    score.run(str(make_shards([4], failed=[2])), str(tmp_path / "ours"), options_for(tiny_model), IN_PROCESS)
    shards = tmp_path / "shards"
    for path in list(shards.iterdir()):
        path.rename(shards / f"000{path.name}")
    if not has_parquet:
        (shards / "00000000.parquet").unlink()
    score.run(str(shards), str(tmp_path / "theirs"), options_for(tiny_model), IN_PROCESS)
    columns = ["uid", "key", "similarity", "caption_chars"]
    theirs = pq.read_table(tmp_path / "theirs" / "00000000.parquet", columns=columns)
    assert theirs.equals(pq.read_table(tmp_path / "ours" / "00000.parquet", columns=columns))


def test_stored_embeddings_need_no_model(make_shards: Callable, tiny_model: Path, tmp_path: Path) -> None:
    """Our own embeddings, laid out as clip-retrieval does, give our own similarities but for fp16."""
    shards, out, stored = make_shards([5]), tmp_path / "scores", tmp_path / "stored"
    score.run(str(shards), str(out), options_for(tiny_model, embeddings=True), IN_PROCESS)
    embeddings = np.load(out / "00000.npz")
    for folder, kind in (("img_emb", "img"), ("text_emb", "txt")):
        (stored / folder).mkdir(parents=True)
        np.save(stored / folder / f"{folder}_0.npy", embeddings[kind])
    (stored / "metadata").mkdir()
    pq.write_table(pq.read_table(shards / "00000.parquet").drop(["uid"]), stored / "metadata" / "metadata_0.parquet")
    made = score.run(str(stored), str(tmp_path / "again"), ScoreOptions(references=("stored",)), IN_PROCESS)
    assert made.counts.shown == {"pairs": 5, "shards": 1} and set(made.inputs) == {"img_emb", "text_emb", "metadata"}
    table, before = (pq.read_table(path) for path in (tmp_path / "again" / "metadata_0.parquet", out / "00000.parquet"))
    assert np.allclose(table["similarity"].to_numpy(), before["similarity"].to_numpy(), atol=1e-3)
    for column in ("uid", "key", "caption_words"):
        assert table[column].equals(before[column])
    assert table["reference"].null_count == table["precision"].null_count == table["shard"].null_count == 5
    assert check_scores(str(tmp_path / "again"), str(tmp_path / "no-shards")).what == "scores"


@pytest.mark.parametrize(
    "changes",
    [{"references": ("stored", "builtin")}, {"embeddings": True}, {"precision": "bf16"}],
)
def test_stored_embeddings_are_scored_as_they_are(changes: dict) -> None:
    with pytest.raises(InputError, match="stored embeddings are scored as they are"):
        parse_options(ScoreOptions, {"references": ("stored",), **changes}, "score")
