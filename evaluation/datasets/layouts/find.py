"""Which layout a path has, told by names alone."""

from __future__ import annotations

from enum import Enum

from clipsieve.schemas import files

SPLITS = {"test": ("test", "val", "validation"), "train": ("train",)}
"""The names that a split's folder or files may have, the first that is there counts."""


class Layout(Enum):
    WEBDATASET = "tar files"
    IMAGE_FOLDER = "folders"
    PARQUET = "Parquet"


def layout_of(path: str) -> Layout | None:
    """The layout of a file or folder; None of one that is no data set."""
    if path.endswith(".parquet"):
        return Layout.PARQUET
    if files.name_of(path).startswith("wds_"):
        return Layout.WEBDATASET
    if files.list_files(path, ".parquet"):
        return Layout.PARQUET
    return Layout.IMAGE_FOLDER if class_folders(path, "test") else None


def class_folders(path: str, split: str) -> list[str]:
    """The folders of an ImageFolder tree's classes, in order: of its folder of the split; without, its own (test)."""
    for name in SPLITS[split]:
        if folders := files.list_folders(files.join(path, name)):
            return folders
    every = {name for names in SPLITS.values() for name in names}
    if split != "test":
        return []
    own = files.list_folders(path)
    return [] if every & {files.name_of(folder) for folder in own} else own


def has_training_split(path: str) -> bool:
    """Whether the data set at ``path`` brings images to learn from."""
    layout = layout_of(path)
    if layout is Layout.PARQUET:
        every = [] if path.endswith(".parquet") else files.list_files(path, ".parquet")
        return any(files.name_of(file).startswith(SPLITS["train"]) for file in every)
    if layout is Layout.IMAGE_FOLDER:
        return bool(class_folders(path, "train"))
    return files.exists(files.join(path, "train", "nshards.txt"))
