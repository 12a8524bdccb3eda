"""The three layouts of a data set on disk: tar files as CLIP_benchmark has them, ImageFolder trees, and Parquet."""

from evaluation.layouts.find import Layout, has_training_split, layout_of
from evaluation.layouts.read import read_split
from evaluation.layouts.split import Split

__all__ = ["Layout", "Split", "has_training_split", "layout_of", "read_split"]
