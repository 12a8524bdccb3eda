"""The classes of ImageNet-1k and of the sets that test it elsewhere, and ReaL's labels."""

from evaluation.imagenet.classes import CLASS_SETS, ClassSet
from evaluation.imagenet.real import real_labels

__all__ = ["CLASS_SETS", "ClassSet", "real_labels"]
