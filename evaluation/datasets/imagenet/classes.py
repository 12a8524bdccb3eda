"""Which classes each ImageNet set asks for, and which folder of its tree holds which.

The 1,000 names are OpenAI's, as open_clip ships them: "missile" and "sunglasses" stand there twice and are kept, in
order, so that ids are the field's. ImageNet-A and -R ask among their own 200 (Hendrycks et al. 2021, both papers;
the ids are timm's). ImageNetV2's folders are the ids themselves, as integers (Recht et al. 2019).

ObjectNet (Barbu et al. 2019) has 113 of its 313 folders in common with ImageNet, which has 125 ids for them: a
folder's score is the highest of its ids' (Taori et al. 2020, as in wise-ft). Its images have a red border of two
pixels, against training on them. ``objectnet.json`` is the mapping that
comes with the data set (``mappings/objectnet_to_imagenet_1k.json``), its names resolved to ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from open_clip import IMAGENET_CLASSNAMES
from timm.data import ImageNetInfo

CLASSES = 1000
_OBJECTNET = Path(__file__).with_name("objectnet.json")


@dataclass(frozen=True)
class ClassSet:
    """The classes of a data set: what a text names, and what a folder holds."""

    names: tuple[str, ...]
    """What the prompts name."""
    folders: Mapping[str, int]
    """Class of each folder of the data set's tree."""
    class_of: tuple[int, ...]
    """Class of each name; several names of one class compete and the best counts for it."""
    has_other_folders: bool = False
    """Whether the tree has folders beyond these, which are no part of the task."""
    border: int = 0
    """Pixels on each side of the published images that are to be cut off; in tar files they are taken to be gone."""

    @property
    def count(self) -> int:
        return len(self.folders)


def imagenet() -> ClassSet:
    """All 1,000 classes, a folder a synset."""
    return _subset(range(CLASSES))


def imagenet_a() -> ClassSet:
    return _subset(_ids("imagenet_a"))


def imagenet_r() -> ClassSet:
    return _subset(_ids("imagenet_r"))


def imagenet_v2() -> ClassSet:
    """All 1,000 classes; folder "10" is class 10, whatever its place in an alphabetic order."""
    folders = {str(number): number for number in range(CLASSES)}
    return ClassSet(tuple(IMAGENET_CLASSNAMES), folders, tuple(range(CLASSES)))


def objectnet() -> ClassSet:
    """113 folders, 125 names."""
    ids_of = json.loads(_OBJECTNET.read_text("utf-8"))
    folders = sorted(ids_of)
    pairs = [(IMAGENET_CLASSNAMES[id_], place) for place, folder in enumerate(folders) for id_ in ids_of[folder]]
    names, class_of = zip(*pairs, strict=True)
    return ClassSet(names, {folder: place for place, folder in enumerate(folders)}, class_of, True, border=2)


CLASS_SETS: Mapping[str, Callable[[], ClassSet]] = {
    "imagenet1k": imagenet,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "imagenet_sketch": imagenet,
    "imagenetv2": imagenet_v2,
    "objectnet": objectnet,
}
"""By the task's name."""


def _subset(ids: range | list[int]) -> ClassSet:
    synsets = ImageNetInfo().label_names()
    names = tuple(IMAGENET_CLASSNAMES[id_] for id_ in ids)
    return ClassSet(names, {synsets[id_]: place for place, id_ in enumerate(ids)}, tuple(range(len(ids))))


def _ids(subset: str) -> list[int]:
    """The 200 ids of a subset, ascending."""
    text = (package_files("timm.data") / "_info" / f"{subset}_indices.txt").read_text("utf-8")
    return [int(line) for line in text.split()]
