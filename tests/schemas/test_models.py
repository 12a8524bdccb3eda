import copy
import pickle

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from clipsieve.schemas import models
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import WEIGHTS_NAME, load_model, save_model
from clipsieve.schemas.tokenizer import CLIP_VOCABULARY, MERGES_NAME, tokenizer_for

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 1000, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS = {"size": 16, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bicubic"}
CAPTIONS = ["a photo of a crocodile", "gramastar", ""]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(str(tmp_path / "model"), open_clip.model.CLIP(**copy.deepcopy(MODEL)), MODEL, PREPROCESS)
    return tmp_path / "model"


def test_a_saved_model_is_open_clips_and_ours(folder):
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = load_model(str(folder))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.model.state_dict()[name])
    assert load_model(str(folder)).digest == ours.digest


def test_the_digest_sees_the_weights(folder):
    before = load_model(str(folder)).digest
    model = open_clip.model.CLIP(**copy.deepcopy(MODEL))
    save_model(str(folder), model, MODEL, PREPROCESS)
    assert load_model(str(folder)).digest != before


def test_the_digest_sees_the_tokenizer(folder, monkeypatch):
    """Though the configuration be the same: a tokenizer's files may change under its name."""
    before = load_model(str(folder)).digest
    monkeypatch.setattr(
        models, "tokenizer_for", lambda cfg: tokenizer_for(cfg | {"vocab_size": cfg["vocab_size"] + 50})
    )
    assert load_model(str(folder)).digest != before


def test_the_folders_merges_give_the_same_tokens_in_open_clip(folder):
    theirs = SimpleTokenizer(bpe_path=str(folder / MERGES_NAME), context_length=8)
    assert theirs.vocab_size == 1000
    assert torch.equal(theirs(CAPTIONS), load_model(str(folder)).tokenizer(CAPTIONS))


def test_the_whole_vocabulary_is_clips():
    ours = tokenizer_for({"vocab_size": CLIP_VOCABULARY, "context_length": 77})
    assert torch.equal(ours(CAPTIONS), open_clip.get_tokenizer("ViT-B-32")(CAPTIONS))


def test_a_checkpoint_of_open_clip_is_read(folder, tmp_path):
    torch.manual_seed(1)
    weights = open_clip.create_model("RN50", pretrained=None)
    torch.save(weights.state_dict(), tmp_path / "rn50.pt")
    loaded = load_model(f"open_clip:RN50@{tmp_path / 'rn50.pt'}")
    assert torch.equal(loaded.model.state_dict()["logit_scale"], weights.state_dict()["logit_scale"])


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("damage", ["pickle", "text", "other"])
def test_hostile_and_damaged_weights_are_refused(folder, tmp_path, damage):
    path = tmp_path / "weights.pt"
    if damage == "other":
        torch.save({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil()) if damage == "pickle" else b"not weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(f"open_clip:RN50@{path}")
    (folder / WEIGHTS_NAME).write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("open_clip:ViT-Z/openai", "knows no weights 'openai'"),
        ("open_clip:ViT-B-32", "give open_clip:MODEL/PRETRAINED"),
        ("open_clip:ViT-B-32@/nowhere.pt", "no such file"),
        ("/nowhere", "not a model"),
    ],
)
def test_an_unknown_model_is_refused(spec, complaint):
    with pytest.raises(InputError, match=complaint):
        load_model(spec)
