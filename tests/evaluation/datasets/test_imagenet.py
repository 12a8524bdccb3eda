from __future__ import annotations

import json
from importlib.resources import files as resources

import numpy as np
import pytest
from open_clip import IMAGENET_CLASSNAMES

from clipsieve.evaluation.datasets.imagenet.classes import CLASS_SETS
from clipsieve.evaluation.datasets.imagenet.real import real_labels
from clipsieve.schemas.errors import InputError

COUNTS = {
    "imagenet1k": (1000, 1000),
    "imagenet-a": (200, 200),
    "imagenet-r": (200, 200),
    "imagenet_sketch": (1000, 1000),
    "imagenetv2": (1000, 1000),
    "objectnet": (113, 125),
}


@pytest.mark.parametrize("key", COUNTS)
def test_published_counts_of_folders_and_names(key):
    classes = CLASS_SETS[key]()
    assert (classes.count, len(classes.names)) == COUNTS[key]
    assert sorted(set(classes.folders.values())) == sorted(set(classes.class_of)) == list(range(classes.count))
    assert list(classes.class_of) == sorted(classes.class_of)


def test_subsets_ask_among_their_own_names_in_the_order_of_their_folders():
    every, a = CLASS_SETS["imagenet1k"](), CLASS_SETS["imagenet-a"]()
    assert list(a.folders) == sorted(a.folders)  # torchvision's order of the tree
    for folder, place in a.folders.items():
        assert a.names[place] == every.names[every.folders[folder]]
    assert (a.names[0], every.folders[next(iter(a.folders))]) == ("stingray", 6)


def test_r_begins_with_the_goldfish():
    r = CLASS_SETS["imagenet-r"]()
    assert (r.names[:3], next(iter(r.folders))) == (("goldfish", "great white shark", "hammerhead shark"), "n01443537")


def test_v2_folders_are_integers_and_no_strings():
    folders = CLASS_SETS["imagenetv2"]().folders
    assert (folders["10"], folders["2"], sorted(folders)[2]) == (10, 2, "10")


def test_names_that_stand_twice_are_kept():
    names = CLASS_SETS["imagenet1k"]().names
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == ["missile", "sunglasses"]


def test_objectnet_folders_stand_for_the_ids_of_their_names():
    classes = CLASS_SETS["objectnet"]()
    names = np.array(classes.names)
    of = {folder: names[np.array(classes.class_of) == place].tolist() for folder, place in classes.folders.items()}
    assert of["alarm_clock"] == ["analog clock", "digital clock"]
    assert of["chair"] == ["barber chair", "folding chair", "rocking chair"]
    assert of["t-shirt"] == ["T-shirt"]
    assert classes.has_other_folders and classes.border == 2
    ids = json.loads((resources("clipsieve.evaluation.datasets.imagenet") / "objectnet.json").read_text())
    assert len({id_ for own in ids.values() for id_ in own}) == 125
    assert IMAGENET_CLASSNAMES[ids["banana"][0]] == "banana"


def test_real_labels_follow_the_number_in_the_file_name():
    ids = tuple(f"n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in range(50_000, 0, -1))
    labels = real_labels(ids)
    assert sum(not own for own in labels) == 3_163
    assert labels[::-1][:4] == ((), (970, 795), (230, 231), (809,))
    assert labels == tuple(reversed(real_labels(ids[::-1])))


@pytest.mark.parametrize("id_", ["s0000000", "ILSVRC2012_val_00050001.JPEG", "ILSVRC2012_val_1.JPEG"])
def test_an_image_without_a_validation_name_is_refused(id_):
    with pytest.raises(InputError, match=r"not named as an ImageNet validation file .* filenames\.txt"):
        real_labels((id_,))
