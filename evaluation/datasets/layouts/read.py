"""Read a split, whatever its layout."""

from __future__ import annotations

from clipsieve.evaluation.datasets.imagenet.classes import ClassSet
from clipsieve.evaluation.datasets.layouts import image_folder, parquet, webdataset
from clipsieve.evaluation.datasets.layouts.find import Layout, layout_of
from clipsieve.evaluation.datasets.layouts.split import Split
from clipsieve.schemas.errors import InputError

_READERS = {
    Layout.WEBDATASET: webdataset.read,
    Layout.IMAGE_FOLDER: image_folder.read,
    Layout.PARQUET: parquet.read,
}


def read_split(path: str, split: str, classes: ClassSet | None = None) -> Split:
    """Read ``test`` or ``train`` of the data set at ``path`` but for its images, and check it whole.

    ``classes`` says which folder or name is which class where the data set is one of ImageNet's. What is wrong with
    the data is an InputError.
    """
    layout = layout_of(path)
    if layout is None:
        raise InputError(f"{path}: neither tar files (wds_NAME), folders of classes, nor Parquet")
    return _READERS[layout](path, split, classes)
