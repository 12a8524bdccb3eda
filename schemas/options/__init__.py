"""What each stage was asked to do: one file a stage. Everything that decides an output's bytes is here, paths are not.

A stage's options come from the command line (flags.py) or from a YAML recipe, and are written into its manifest.
"""

from __future__ import annotations

from clipsieve.schemas.options.base import Options, parse_options
from clipsieve.schemas.options.dedup import DedupOptions
from clipsieve.schemas.options.download import DownloadOptions
from clipsieve.schemas.options.drift import DriftOptions
from clipsieve.schemas.options.evaluate import EvaluateOptions
from clipsieve.schemas.options.filter import FilterOptions
from clipsieve.schemas.options.images import ImageOptions
from clipsieve.schemas.options.index import IndexOptions
from clipsieve.schemas.options.pack import PackOptions
from clipsieve.schemas.options.plan import PlanOptions
from clipsieve.schemas.options.reshard import ReshardOptions
from clipsieve.schemas.options.score import STORED, ScoreOptions
from clipsieve.schemas.options.select import SelectOptions, parse_combination
from clipsieve.schemas.options.tokenizer import TokenizerOptions
from clipsieve.schemas.options.train import TrainOptions

__all__ = [
    "STORED",
    "DedupOptions",
    "DownloadOptions",
    "DriftOptions",
    "EvaluateOptions",
    "FilterOptions",
    "ImageOptions",
    "IndexOptions",
    "Options",
    "PackOptions",
    "PlanOptions",
    "ReshardOptions",
    "ScoreOptions",
    "SelectOptions",
    "TokenizerOptions",
    "TrainOptions",
    "parse_combination",
    "parse_options",
]
