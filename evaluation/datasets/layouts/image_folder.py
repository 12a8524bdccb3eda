"""ImageFolder trees, as torchvision reads them: a folder a class, its images in it and in the folders within.

The tree may have ``test``, ``val`` or ``validation``, and ``train``, above the classes' folders. Classes are in the
order of the folders' names, and the folders' names are the classes' names but where ``classnames.txt`` next to them
gives others, or the data set is one of ImageNet's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clipsieve.evaluation.datasets.imagenet.classes import ClassSet
from clipsieve.evaluation.datasets.layouts.find import class_folders
from clipsieve.evaluation.datasets.layouts.split import SamplesDigest, Split
from clipsieve.evaluation.datasets.layouts.tars import IMAGE_EXTENSIONS
from clipsieve.evaluation.datasets.layouts.text import read_names, read_templates
from clipsieve.evaluation.datasets.layouts.webdataset import CLASSNAMES, TEMPLATES
from clipsieve.evaluation.datasets.task import ImageStream, Samples
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def read(folder: str, split: str, classes: ClassSet | None) -> Split:
    """Read a tree but for its images; see `clipsieve.evaluation.datasets.layouts.read.read_split`."""
    folders = class_folders(folder, split)
    if not folders:
        raise InputError(f"{folder}: no folder of {split} images there")
    class_of = classes.folders if classes else {files.name_of(path): place for place, path in enumerate(folders)}
    paths, labels = list[tuple[str, str]](), list[int]()
    for class_folder in folders:
        name = files.name_of(class_folder)
        if name not in class_of:
            if classes and classes.has_other_folders:
                continue
            raise InputError(f"{class_folder}: not a class of this data set")
        own = _images(class_folder)
        paths += own
        labels += [class_of[name]] * len(own)
    if not paths:
        raise InputError(f"{folder}: no images in its folders")
    if not classes and len(folders) == 1 and all(id_.count("/") > 1 for id_, _ in paths):
        raise InputError(
            f"{folders[0]}: the only folder, and holds folders alone; if these are the classes, move them up"
        )
    names, templates = _texts(folder, [] if classes else list(class_of))
    return Split(_samples(paths), labels=tuple(labels), classnames=names, templates=templates)


def _texts(folder: str, folders: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folder's own class names, or else its folders' names, and its own templates, if any."""
    path, templates = files.join(folder, CLASSNAMES), files.join(folder, TEMPLATES)
    names = read_names(path) if files.exists(path) else tuple(name.replace("_", " ") for name in folders)
    if folders and len(names) != len(folders):
        raise InputError(f"{path}: {len(names)} names, but there are {len(folders)} folders of classes")
    return names, read_templates(templates) if files.exists(templates) else ()


def _images(folder: str) -> list[tuple[str, str]]:
    """(id, path) of each image of a class, in order of their places within its folder; what is hidden is left out."""
    fs, inner = files.filesystem(folder)
    root = inner.rstrip("/") + "/"
    places = sorted(path.removeprefix(root) for path in fs.find(inner))
    shown = [place for place in places if "." not in [part[:1] for part in place.split("/")]]
    images = [place for place in shown if place.rpartition(".")[2].lower() in IMAGE_EXTENSIONS]
    return [(f"{files.name_of(folder)}/{place}", files.join(folder, place)) for place in images]


def _samples(images: Sequence[tuple[str, str]]) -> Samples:
    digest = SamplesDigest()
    for id_, path in images:
        digest.add(id_, files.read_bytes(path))
    return Samples(tuple(id_ for id_, _ in images), _stream([path for _, path in images]), digest.hex())


def _stream(paths: Sequence[str]) -> ImageStream:
    def images(start: int, stop: int) -> Iterator[tuple[str, bytes]]:
        for path in paths[start:stop]:
            yield path, files.read_bytes(path)

    return images
