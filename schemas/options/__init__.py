"""What each stage was asked to do: one file a stage. Everything that decides an output's bytes is here, paths are not.

A stage's options come from the command line (flags.py) or from a YAML recipe, and are written into its manifest.
"""

from __future__ import annotations

from schemas.options.base import Options, parse_options
from schemas.options.dedup import DedupOptions
from schemas.options.download import DownloadOptions
from schemas.options.evaluate import EvaluateOptions
from schemas.options.filter import FilterOptions
from schemas.options.reshard import ReshardOptions
from schemas.options.score import STORED, ScoreOptions
from schemas.options.select import SelectOptions, parse_combination
from schemas.options.tokenizer import TokenizerOptions
from schemas.options.train import TrainOptions

__all__ = [
    "STAGE_OPTIONS",
    "STORED",
    "DedupOptions",
    "DownloadOptions",
    "EvaluateOptions",
    "FilterOptions",
    "Options",
    "ReshardOptions",
    "ScoreOptions",
    "SelectOptions",
    "TokenizerOptions",
    "TrainOptions",
    "parse_combination",
    "parse_options",
]

STAGE_OPTIONS: dict[str, type[Options]] = {
    "download": DownloadOptions,
    "score": ScoreOptions,
    "filter": FilterOptions,
    "dedup": DedupOptions,
    "select": SelectOptions,
    "reshard": ReshardOptions,
    "tokenizer": TokenizerOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
}
