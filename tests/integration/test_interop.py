"""What others' readers make of a run's folders: webdataset, img2dataset, open_clip, and DataComp's bisection."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image

from clipsieve.schemas.models import load_model
from clipsieve.schemas.uid import UID_U64_PAIR

WEIGHTS = "open_clip_model.safetensors"


@pytest.mark.parametrize(("folder", "names"), [("shards", 3), ("resharded/top40", 3)])
def test_webdataset_reads_shards(small_run: Path, folder: str, names: int) -> None:
    tars = sorted(str(path) for path in (small_run / folder).glob("*.tar"))
    assert len(tars) == names
    dataset = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("pil")
    samples = [(s["__key__"], s["jpg"].mode, s["txt"], s["json"]["uid"]) for s in dataset]
    rows = [row for tar in tars for row in pq.read_table(tar.replace(".tar", ".parquet")).to_pylist()]
    done = [row for row in rows if row["status"] == "success"]
    assert samples == [(row["key"], "RGB", row["caption"], row["uid"]) for row in done]


def test_resharded_samples_are_the_shards_own(small_run: Path) -> None:
    def samples(folder: str) -> dict[str, tuple[bytes, bytes, bytes]]:
        tars = sorted(str(path) for path in (small_run / folder).glob("*.tar"))
        dataset = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)
        return {s["__key__"]: (s["jpg"], s["txt"], s["json"]) for s in dataset}

    everything, top40 = samples("shards"), samples("resharded/top40")
    assert len(top40) == 28
    assert top40 == {key: everything[key] for key in top40}
    sizes = json.loads((small_run / "resharded/top40/sizes.json").read_text())
    assert sizes == {"00000.tar": 10, "00001.tar": 10, "00002.tar": 8}


@pytest.mark.parametrize("name", ["subsets/top20", "subsets/top40", "subsets/top80", "samples/10", "samples/30"])
def test_subset_files_are_what_datacomp_bisects(small_run: Path, name: str) -> None:
    """Sorted (upper64, lower64) of the uids, as DataComp's resharder reads them."""
    pairs = np.load(small_run / f"{name}.npy", allow_pickle=False)
    assert pairs.dtype == UID_U64_PAIR == np.dtype("u8,u8")
    uids = pq.read_table(small_run / f"{name}.parquet")["uid"].to_pylist()
    assert pairs.tolist() == sorted((int(uid[:16], 16), int(uid[16:], 16)) for uid in uids)


@pytest.mark.parametrize("name", ["top40", "all"])
def test_open_clip_loads_the_weights(small_run: Path, name: str) -> None:
    folder = small_run / "models" / name
    ours = load_model(str(folder))
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.tokenizer.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=16)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    captions = ["a red circle", "Zahnrad", ""]
    assert torch.equal(tokenizer(captions), ours.tokenizer(captions))
    with torch.inference_mode():
        pixels = preprocess(image)[None]
        assert torch.equal(pixels[0], ours.preprocess(image))
        assert torch.equal(theirs.eval().encode_image(pixels), ours.model.encode_image(pixels))  # type: ignore[operator]
        tokens = tokenizer(captions)
        assert torch.equal(theirs.encode_text(tokens), ours.model.encode_text(tokens))  # type: ignore[operator]


def test_the_two_models_differ(small_run: Path) -> None:
    assert (small_run / "models/all" / WEIGHTS).read_bytes() != (small_run / "models/top40" / WEIGHTS).read_bytes()


def test_kept_embeddings_give_the_scores(small_run: Path) -> None:
    """clip-retrieval's kind of reader: rows of the npz are rows of the Parquet, to the precision of fp16."""
    for parquet in sorted((small_run / "scores").glob("*.parquet")):
        stored = np.load(io.BytesIO(parquet.with_suffix(".npz").read_bytes()), allow_pickle=False)
        cosine = (stored["img"].astype(np.float32) * stored["txt"].astype(np.float32)).sum(axis=1)
        similarity = pq.read_table(parquet)["similarity"].to_numpy()
        assert stored["img"].dtype == np.float16
        np.testing.assert_allclose(cosine, similarity, atol=2e-3)
