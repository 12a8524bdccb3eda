"""Every stage of a run, once: its folders, its options, what it is made from and what its folders hold.

Whatever goes through a run's folders goes by this table: `verify`, `takedown`, `explain`, the report, recipes, and the
tables of ARCHITECTURE and README. To add a stage, add it here; the tests then name what else it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from pydantic import ValidationError

from clipsieve.schemas import files
from clipsieve.schemas.counts import (
    Counts,
    DedupCounts,
    DownloadCounts,
    DriftCounts,
    EvaluateCounts,
    FilterCounts,
    IndexCounts,
    MemberCounts,
    ReshardCounts,
    ScoreCounts,
    SelectionCounts,
    TokenizerCounts,
    TrainCounts,
)
from clipsieve.schemas.options import (
    DedupOptions,
    DownloadOptions,
    DriftOptions,
    EvaluateOptions,
    FilterOptions,
    IndexOptions,
    Options,
    PackOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
)


class Holds(Enum):
    """What a folder holds of a run's pairs."""

    SHARDS = "shards"
    """Their images and captions: tars with a Parquet file and a stats file each."""
    ROWS = "rows"
    """A row of each scored pair: a Parquet file for each score file, under the same name."""
    MEMBERS = "members"
    """The uids of some of them: a Parquet and an npy file for each subset or sample."""
    LEARNT = "learnt"
    """Nothing but what was learnt from them: a model or a tokenizer."""
    RESULTS = "results"
    """Nothing: what was measured of a model."""

    @property
    def has_pairs(self) -> bool:
        """Whether a pair can be found, and taken down, in such a folder."""
        return self in (Holds.SHARDS, Holds.ROWS, Holds.MEMBERS)


@dataclass(frozen=True)
class Output:
    """A folder that a stage fills."""

    name: str
    """Where it is in a run."""
    holds: Holds
    counts: type[Counts]
    """What its manifest counts."""
    description: str
    """What it holds, in the words of the docs' tables."""
    is_parent: bool = False
    """Whether the stage fills folders in it, one a subset or model, instead of the folder itself."""

    @property
    def shown(self) -> str:
        """``scores/``, ``models/NAME/``"""
        return f"{self.name}/NAME/" if self.is_parent else f"{self.name}/"


@dataclass(frozen=True)
class Source:
    """An input of a stage that comes from another stage of the run."""

    input: str
    """Its name among the manifest's inputs."""
    stages: tuple[str, ...]
    """The stages whose folders it may be."""
    of_same_name: bool = False
    """Whether it is the folder of the same NAME, where that is there; any other is from outside the run."""


@dataclass(frozen=True)
class Stage:
    """A stage of a run."""

    name: str
    """That of its command, and in manifests and recipes."""
    options: type[Options]
    outputs: tuple[Output, ...]
    made_from: tuple[Source, ...] = ()

    def folder(self, run_dir: str, *name: str) -> str:
        """The path in a run of its (first) folder, or of the folder ``name`` in it."""
        return files.join(run_dir, self.outputs[0].name, *name)

    def read_counts(self, content: dict[str, int]) -> Counts:
        """The counts of a manifest: of the first of its outputs that they fit; of an open folder, none."""
        if not content:
            return Counts()
        *kinds, last = dict.fromkeys(output.counts for output in self.outputs)
        for kind in kinds:
            with suppress(ValidationError):
                return kind.model_validate(content)
        return last.model_validate(content)

    def output(self, folder: str) -> Output:
        """Which of its outputs a folder at the path ``folder`` is; by its name where there are several."""
        return next((output for output in self.outputs if output.name == files.name_of(folder)), self.outputs[0])


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "download",
            DownloadOptions,
            (
                Output(
                    "shards",
                    Holds.SHARDS,
                    DownloadCounts,
                    "every input row once, with its status; images of those that came",
                ),
            ),
        ),
        Stage(
            "index",
            IndexOptions,
            (
                Output(
                    "shards",
                    Holds.SHARDS,
                    IndexCounts,
                    "of shards that another tool wrote, each sample's uid and place; the tars stay where they are",
                ),
            ),
        ),
        Stage(
            "pack",
            PackOptions,
            (
                Output(
                    "shards",
                    Holds.SHARDS,
                    DownloadCounts,
                    "every local picture once, with its status; images of those that could be read",
                ),
            ),
        ),
        Stage(
            "score",
            ScoreOptions,
            (
                Output(
                    "scores",
                    Holds.ROWS,
                    ScoreCounts,
                    "a similarity for each downloaded pair; embeddings on demand",
                ),
            ),
            (Source("shards", ("download", "index", "pack")),),
        ),
        Stage(
            "drift",
            DriftOptions,
            (
                Output(
                    "drift",
                    Holds.ROWS,
                    DriftCounts,
                    "of each downloaded pair whether its image is the one that the publisher saw",
                ),
            ),
            (Source("shards", ("download", "index", "pack")), Source("scores", ("score",))),
        ),
        Stage(
            "filter",
            FilterOptions,
            (
                Output(
                    "filters",
                    Holds.ROWS,
                    FilterCounts,
                    "a verdict on each scored pair, and what each rule removed",
                ),
            ),
            (
                Source("scores", ("score",)),
                Source("shards", ("download", "index", "pack")),
                Source("drift", ("drift",)),
            ),
        ),
        Stage(
            "dedup",
            DedupOptions,
            (
                Output(
                    "dedup",
                    Holds.ROWS,
                    DedupCounts,
                    "of each scored pair the one that is kept instead, and what found the two alike",
                ),
            ),
            (Source("shards", ("download", "index", "pack")), Source("scores", ("score",))),
        ),
        Stage(
            "select",
            SelectOptions,
            (
                Output(
                    "selection",
                    Holds.ROWS,
                    SelectionCounts,
                    "every scored pair's quantile rank, sample rank and reason if it was rejected",
                ),
                Output(
                    "subsets",
                    Holds.MEMBERS,
                    MemberCounts,
                    "the top q% of the pairs, as Parquet and as DataComp's sorted npy",
                ),
                Output(
                    "samples",
                    Holds.MEMBERS,
                    MemberCounts,
                    "samples of given sizes, as Parquet and as DataComp's sorted npy",
                ),
            ),
            (Source("scores", ("score",)), Source("filters", ("filter",)), Source("dedup", ("dedup",))),
        ),
        Stage(
            "reshard",
            ReshardOptions,
            (
                Output(
                    "resharded",
                    Holds.SHARDS,
                    ReshardCounts,
                    "one subset as shards of its own, members byte for byte",
                    is_parent=True,
                ),
            ),
            (Source("shards", ("download", "index", "pack")),),
        ),
        Stage(
            "tokenizer",
            TokenizerOptions,
            (
                Output(
                    "tokenizer",
                    Holds.LEARNT,
                    TokenizerCounts,
                    "a SentencePiece model of the captions, for `train --tokenizer`",
                ),
            ),
            (Source("shards", ("download", "index", "pack")),),
        ),
        Stage(
            "train",
            TrainOptions,
            (
                Output(
                    "models",
                    Holds.LEARNT,
                    TrainCounts,
                    "weights, configuration and tokenizer as open_clip reads them; the log",
                    is_parent=True,
                ),
            ),
            (Source("shards", ("download", "index", "pack", "reshard")),),
        ),
        Stage(
            "evaluate",
            EvaluateOptions,
            (
                Output(
                    "evaluations",
                    Holds.RESULTS,
                    EvaluateCounts,
                    "`results.jsonl`, and every sample's outcome",
                    is_parent=True,
                ),
            ),
            (Source("model", ("train",), of_same_name=True),),
        ),
    )
}
"""By name, in the order in which data flows: a stage comes after all that it is made from."""


def stage_of(options: Options) -> Stage:
    """The stage whose options these are."""
    return next(stage for stage in STAGES.values() if isinstance(options, stage.options))


def output_names() -> list[str]:
    """The names of all folders that stages fill, in the order in which data flows."""
    return list(dict.fromkeys(output.name for stage in STAGES.values() for output in stage.outputs))
