"""ImageNet's sets as whole folders of a few images, under a model that reads the classes off an image's pixels.

An image is two pixels, and each pixel's red and green say a class of the 1,000: the image is most of all of the first
pixel's class, and then of the second's. A text is of every class that has its name.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip import IMAGENET_CLASSNAMES
from PIL import Image, ImageOps
from timm.data import ImageNetInfo

from clipsieve.evaluation.datasets import catalogue
from clipsieve.evaluation.datasets.imagenet.classes import CLASS_SETS
from clipsieve.evaluation.datasets.read import find_tasks, read_task
from clipsieve.evaluation.datasets.task import ClassificationTask
from clipsieve.evaluation.protocols import zero_shot
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import LoadedModel

SYNSETS = ImageNetInfo().label_names()
GOLDFISH, STINGRAY, ROBIN, MISSILE, PROJECTILE = 1, 6, 15, 657, 744
BARBER_CHAIR, ROCKING_CHAIR, TABBY = 423, 765, 281
RED = (255, 0, 0)


class ClassTowers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([[0.8], [0.6]]))

    def encode_image(self, images):
        classes = (images[..., 0] * 256 + images[..., 1]).flatten(1).long()
        assert classes.shape[1] == 2, "an image has a border still"
        return (torch.nn.functional.one_hot(classes.clamp(max=999), 1000) * self.scale).sum(dim=1)

    def encode_text(self, texts, normalize):
        return torch.nn.functional.normalize(texts, dim=1)


@pytest.fixture
def model():
    names = np.array(IMAGENET_CLASSNAMES)
    return LoadedModel(
        "classes",
        ClassTowers(),
        lambda image: torch.from_numpy(np.array(image, np.float32)),
        lambda texts: torch.from_numpy(np.stack([names == text for text in texts]).astype(np.float32)),
        "0" * 32,
    )


def picture(first, second, border=0):
    """A PNG file of two pixels that is of the class ``first``, and less so of ``second``."""
    pixels = np.array([[[class_ // 256, class_ % 256, 0] for class_ in (first, second)]], np.uint8)
    stream = io.BytesIO()
    ImageOps.expand(Image.fromarray(pixels), border, RED).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def outcome_of(tmp_path, monkeypatch, model, features_of):
    """(task, images by path in its tree) -> what becomes of them; the published count of images is set to theirs."""

    def evaluate(key, images, folder=None):
        for path, image in images.items():
            file = tmp_path / "data" / (folder or key) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image)
        few = replace(catalogue.BY_SLUG[key], images=len(images))
        monkeypatch.setitem(catalogue.BY_SLUG, key, few)
        task = read_task(find_tasks(str(tmp_path / "data"), [key])[key], key)
        assert isinstance(task, ClassificationTask)
        return zero_shot.evaluate(task, features_of(model, prompts="name"))

    return evaluate


def columns(outcome, *names):
    (_, table) = outcome.tables[""]
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


@pytest.mark.parametrize("key", ["imagenet1k", "imagenet_sketch"])
def test_all_classes_compete(outcome_of, key):
    images = {f"{SYNSETS[STINGRAY]}/a.png": picture(GOLDFISH, STINGRAY), f"{SYNSETS[ROBIN]}/a.png": picture(ROBIN, 0)}
    outcome = outcome_of(key, images)
    assert columns(outcome, "label", "prediction") == [(STINGRAY, GOLDFISH), (ROBIN, ROBIN)]
    assert outcome.metrics["acc1"] == 1 / 2 and outcome.metrics["acc5"] == 1


@pytest.mark.parametrize(
    ("key", "outside", "inside", "place"), [("imagenet-a", GOLDFISH, STINGRAY, 0), ("imagenet-r", 0, STINGRAY, 3)]
)
def test_the_subset_of_200_alone_competes(outcome_of, key, outside, inside, place):
    """The class that the image is most of is none of the subset's: the one that it is less of wins."""
    subset = list(CLASS_SETS[key]().folders)
    assert SYNSETS[outside] not in subset and subset.index(SYNSETS[inside]) == place
    outcome = outcome_of(key, {f"{SYNSETS[inside]}/a.png": picture(outside, inside)})
    assert columns(outcome, "label", "prediction", "rank") == [(place, place, 0)]


def test_a_folder_that_is_none_of_the_subsets_is_refused(outcome_of):
    with pytest.raises(InputError, match=rf"{SYNSETS[GOLDFISH]}: not a class of this data set"):
        outcome_of("imagenet-a", {f"{SYNSETS[GOLDFISH]}/a.png": picture(GOLDFISH, 0)})


def test_v2s_folders_are_numbers_whatever_the_order_of_their_names(outcome_of):
    images = {f"{class_}/a.png": picture(class_, 0) for class_ in (2, 10, 100, STINGRAY)}
    outcome = outcome_of("imagenetv2", images)
    assert columns(outcome, "id", "label", "prediction") == [
        ("10/a.png", 10, 10),
        ("100/a.png", 100, 100),
        ("2/a.png", 2, 2),
        ("6/a.png", STINGRAY, STINGRAY),
    ]
    with pytest.raises(InputError, match="/1000: not a class of this data set"):
        outcome_of("imagenetv2", {"1000/a.png": picture(0, 0)})


def test_a_name_that_stands_twice_is_two_classes_and_the_first_wins(outcome_of):
    images = {f"{class_}/a.png": picture(MISSILE, PROJECTILE) for class_ in (MISSILE, PROJECTILE)}
    assert columns(outcome_of("imagenetv2", images), "label", "prediction", "rank") == [
        (MISSILE, MISSILE, 0),
        (PROJECTILE, MISSILE, 1),
    ]


def test_real_takes_any_right_label_and_leaves_out_images_without(outcome_of):
    """The first four validation images: no label, 970 or 795, 230 or 231, 809; the folders are ImageNet's own."""
    said = {1: 0, 2: 795, 3: 5, 4: 809}
    images = {
        f"{SYNSETS[class_]}/ILSVRC2012_val_{number:08d}.JPEG": picture(class_, 230) for number, class_ in said.items()
    }
    outcome = outcome_of("imagenet_real", images, folder="imagenet1k")
    assert outcome.samples == 3
    assert outcome.metrics["acc1"] == 2 / 3 and outcome.metrics["mean_per_class_recall"] is None
    found = {id_[-6]: rest for id_, *rest in columns(outcome, "id", "label", "prediction", "correct", "rank")}
    assert found == {"2": [795, 795, True, 0], "3": [230, 5, False, 1], "4": [809, 809, True, 0]}
    own = outcome_of("imagenet1k", images)
    assert own.samples == 4 and own.metrics["acc1"] == 1


def test_objectnet_takes_the_best_of_a_folders_classes_without_the_border(outcome_of, tmp_path):
    """An image that is most of all a tabby, no class of ObjectNet's, and then a rocking chair, is a chair's."""
    folders = CLASS_SETS["objectnet"]().folders
    other = tmp_path / "data" / "objectnet" / "air_freshener" / "a.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(picture(TABBY, 0, border=2))
    images = {
        "chair/a.png": picture(TABBY, ROCKING_CHAIR, border=2),
        "chair/b.png": picture(BARBER_CHAIR, TABBY, border=2),
        "banana/a.png": picture(ROCKING_CHAIR, 954, border=2),
    }
    outcome = outcome_of("objectnet", images)
    assert columns(outcome, "id", "label", "prediction", "rank") == [
        ("banana/a.png", folders["banana"], folders["chair"], 1),
        ("chair/a.png", folders["chair"], folders["chair"], 0),
        ("chair/b.png", folders["chair"], folders["chair"], 0),
    ]


def test_an_objectnet_without_some_images_is_refused(outcome_of, tmp_path):
    outcome_of("objectnet", {"chair/a.png": picture(ROCKING_CHAIR, 0, border=2), "banana/a.png": picture(954, 0, 2)})
    (tmp_path / "data" / "objectnet" / "banana" / "a.png").unlink()
    with pytest.raises(InputError, match=r"1 images, but ObjectNet has 2; get objectnet\.dev"):
        read_task(str(tmp_path / "data" / "objectnet"))
