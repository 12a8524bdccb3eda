"""Tasks on disk and two models: a random open_clip one, and one by hand that sees nothing but colour."""

from __future__ import annotations

import io
import re
import tarfile
from itertools import pairwise

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipsieve.evaluation.features.cache import Features
from clipsieve.schemas.models import LoadedModel, load_model, save_model

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
MODEL_CFG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 1024, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS_CFG = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def noise_images():
    """(count, seed) -> that many PNG files of noise, of sizes that differ."""

    def make(count, seed=0):
        generator = np.random.default_rng(seed)
        sizes = generator.integers(24, 64, (count, 2))
        return [_png(generator.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]

    return make


@pytest.fixture
def colour_image():
    """A colour's name -> a PNG file of that colour."""
    return lambda name: _png(np.full((4, 4, 3), COLOURS[name], np.uint8))


@pytest.fixture
def write_task():
    """Write a task folder: text files, and samples (key, {extension: bytes}) over ``shards`` tar files."""

    def write(folder, samples, shards=1, **texts):
        (folder / "test").mkdir(parents=True)
        for name, text in {"test/nshards": f"{shards}\n", **texts}.items():
            (folder / f"{name}.txt").write_text(text, newline="")
        bounds = np.linspace(0, len(samples), shards + 1).astype(int)
        for shard, (start, stop) in enumerate(pairwise(bounds)):
            with tarfile.open(folder / "test" / f"{shard}.tar", "w") as tar:
                for key, members in samples[start:stop]:
                    for extension, data in members.items():
                        info = tarfile.TarInfo(f"{key}.{extension}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
        return folder

    return write


@pytest.fixture
def write_zero_shot(write_task):
    """Write a zero-shot task of images, their labels and the class names."""

    def write(folder, images, labels, classnames, templates=("a photo of a {c}.", "{c}"), shards=1):
        samples = [
            (f"s{row:07d}", {"cls": str(label).encode(), "png": image})
            for row, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        texts = {"classnames": classnames, "zeroshot_classification_templates": templates}
        joined = {name: "\n".join(lines) + "\n" for name, lines in texts.items()}
        return write_task(folder, samples, shards, **joined)

    return write


@pytest.fixture
def write_retrieval(write_task):
    """Write a retrieval task of images and the captions of each."""

    def write(folder, images, captions, shards=1):
        samples = [
            (f"s{row:07d}", {"png": image, "txt": "\n".join(texts).encode()})
            for row, (image, texts) in enumerate(zip(images, captions, strict=True))
        ]
        return write_task(folder, samples, shards, dataset_type="retrieval\n")

    return write


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model folder of a small open_clip CLIP with random weights."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_model(str(folder), open_clip.CLIP(**MODEL_CFG), MODEL_CFG, PREPROCESS_CFG)
    return str(folder)


@pytest.fixture(scope="session")
def random_model(model_folder):
    return load_model(model_folder)


@pytest.fixture
def features_of(tmp_path):
    """(model, batch size) -> its features under a preset and a set of prompts."""

    def make(model, batch_size=4, preset="openclip", prompts="own", **changed):
        return Features(model, preset, prompts, str(tmp_path / f"cache{batch_size}"), batch_size, **changed)

    return make


@pytest.fixture
def learnable(tmp_path):
    """A data folder with an ImageFolder tree of shades of four colours, 12 to learn from and 3 to try, a colour."""
    for split, count in (("train", 12), ("test", 3)):
        generator = np.random.default_rng(count)
        for name, colour in COLOURS.items():
            folder = tmp_path / "data" / "shades" / split / name
            folder.mkdir(parents=True)
            for row in range(count):
                pixels = np.array(colour) * 0.8 + generator.integers(0, 50, (32, 32, 3))
                (folder / f"{row}.png").write_bytes(_png(pixels.astype(np.uint8)))
    return str(tmp_path / "data")


class ColourTowers(torch.nn.Module):
    """Images[N, 3, 4, 4] become their mean colour, texts[N, 3] are colours already; the latter of unit length."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode_image(self, images):
        return images.mean(dim=(2, 3)) * self.scale

    def encode_text(self, texts, normalize):
        return torch.nn.functional.normalize(texts.float() * self.scale, dim=1)


@pytest.fixture
def colour_model():
    """A model whose embedding of an image is its colour, and of a text the sum of the colours it names."""

    def tokenize(texts):
        named = [[COLOURS[word] for word in re.findall(r"\w+", text) if word in COLOURS] for text in texts]
        return torch.from_numpy(np.array([np.sum(colours, axis=0) for colours in named]))

    def preprocess(image):
        return torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)

    return LoadedModel("colours", ColourTowers(), preprocess, tokenize, "0" * 32)
