"""The evaluation folders that are compared, and whether they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipsieve.evaluation.results.tables import read_rows, results_path
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.results import SAMPLES_NAME

_MUST_AGREE = ("task_digest", "train_digest", "preset", "protocol")
"""What two results must have in common for their samples to be pairs."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder; ``rows`` by the result's key."""

    folder: str
    rows: Mapping[str, dict[str, Any]]

    @property
    def samples_folder(self) -> str:
        return files.join(self.folder, SAMPLES_NAME)


@dataclass(frozen=True)
class Contender:
    """A model to compare: one evaluation, or those of runs that differ in their seed alone."""

    name: str
    runs: tuple[Evaluation, ...]

    @property
    def keys(self) -> list[str]:
        """The results that every run has."""
        return [key for key in self.runs[0].rows if all(key in run.rows for run in self.runs)]

    def value(self, key: str, metric: str) -> float | None:
        """The metric's mean over the runs; None where one lacks it."""
        values = [run.rows[key]["metrics"].get(metric) for run in self.runs if key in run.rows]
        return None if len(values) < len(self.runs) or None in values else sum(values) / len(values)

    @property
    def compute(self) -> float | None:
        """GFLOPs of training; None of models that do not say."""
        found = next(iter(self.runs[0].rows.values())).get("training_gflops")
        return float(found) if found else None


def read_contenders(specs: Sequence[str]) -> tuple[Contender, ...]:
    """The contenders that ``specs`` name: a folder each, or the folders of its seeds with commas between."""
    if len(specs) < 2:
        raise InputError("compare: name at least two evaluation folders")
    folders = [[folder.rstrip("/") for folder in spec.split(",") if folder] for spec in specs]
    names = _names(["+".join(files.name_of(folder) for folder in own) for own in folders], specs)
    return tuple(
        Contender(name, tuple(_read(folder) for folder in own)) for name, own in zip(names, folders, strict=True)
    )


def shared_keys(contenders: Sequence[Contender]) -> list[str]:
    """The results that all contenders have, each of the same samples asked in the same way; else an InputError."""
    first = contenders[0]
    keys = [key for key in first.keys if all(key in other.keys for other in contenders)]
    if not keys:
        raise InputError(
            f"compare: no task that all of {', '.join(each.name for each in contenders)} were evaluated on"
        )
    for key in keys:
        for run in (run for contender in contenders for run in contender.runs):
            _refuse_unlike(first.runs[0], run, key)
    return keys


def _read(folder: str) -> Evaluation:
    rows = read_rows(folder)
    if not rows:
        raise InputError(f"{results_path(folder)}: no results there; name a folder that clipsieve evaluate wrote")
    return Evaluation(folder, {row["key"]: row for row in rows})


def _refuse_unlike(first: Evaluation, other: Evaluation, key: str) -> None:
    for field in _MUST_AGREE:
        ours, theirs = first.rows[key].get(field), other.rows[key].get(field)
        if ours != theirs:
            raise InputError(
                f"{results_path(other.folder)}: task {key}: {field} is {_short(theirs)}, in {first.folder} it is "
                f"{_short(ours)}; evaluate both models on the same data with the same preset and version"
            )


def _short(value: Any) -> str:
    return str(value)[:12]


def _names(names: list[str], specs: Sequence[str]) -> list[str]:
    """The folders' own names where they differ, else the paths as given."""
    return names if len(set(names)) == len(names) else list(specs)
