"""`manifest.json`: what an output folder was made from, with what, and the digest of what is in it (law 8).

A stage opens its folder with `begin` and closes it with `finish`. A folder that another recipe or input began is
refused, and the difference is shown; a folder that is complete is left as it is, unless its stage adds to it
(`reopen`).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError, model_validator

from clipsieve.schemas import files
from clipsieve.schemas.counts import Counts, DownloadCounts, IndexCounts, ReshardCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.older_manifests import upgraded
from clipsieve.schemas.options import ImageOptions, Options
from clipsieve.schemas.stages import STAGES, Holds, stage_of
from clipsieve.schemas.training_data import TrainingData, WeightedSubset, mixture, subset_digests

_SomeOptions = TypeVar("_SomeOptions", bound=Options)
_SomeCounts = TypeVar("_SomeCounts", bound=Counts)
VERSIONED = ("clipsieve", "apache-beam", "numpy", "open_clip_torch", "pillow", "pyarrow", "torch")


class Takedown(BaseModel):
    """Pairs that were removed from a folder after its stage had finished."""

    model_config = ConfigDict(extra="forbid")

    opt_out: str
    """Digest of the list that named them."""
    begun_at: str
    finished_at: str
    pairs: int
    """How many of the folder's pairs, each counted once."""
    counts: SerializeAsAny[Counts]
    """The folder's counts before."""
    digests: list[str]
    """Before: the folder's own, those of its earlier states, and SHA-256 of each file that may have been an input."""


class Manifest(BaseModel):
    """One output folder's origin."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    status: Literal["running", "complete", "takedown"] = "running"
    """takedown: complete, and pairs are being removed; the files do not agree until that has ended."""
    recipe: SerializeAsAny[Options]
    """The stage's options."""
    inputs: dict[str, str]
    subsets: list[WeightedSubset] = []
    """Of `reshard` and `train`: what they read the pairs of the shards through; none: all pairs."""
    protocol: int | None = None
    """Of `evaluate`: the version of what it does with a task."""
    versions: dict[str, str]
    started_at: str
    finished_at: str | None = None
    counts: SerializeAsAny[Counts] = Counts()
    digest: str | None = None
    """Digest of the folder's data, times left out: equal for two runs of one recipe on one input."""
    earlier: list[Manifest] = []
    """What this manifest was each time that the folder was complete and then added to, without their own
    ``earlier``; the files that they describe are still there, unchanged but for the pairs that takedowns removed."""
    takedowns: list[Takedown] = []

    @model_validator(mode="before")
    @classmethod
    def _of_its_stage(cls, content: Any) -> Any:
        """Read the recipe as the options of the stage, and the counts as its counts."""
        if not isinstance(content, dict) or not isinstance(content.get("recipe"), dict):
            return content
        if content.get("stage") not in STAGES:
            raise ValueError(f"{content.get('stage')!r} is not one of its stages, {', '.join(STAGES)}")
        stage = STAGES[content["stage"]]
        takedowns = [
            record | {"counts": stage.read_counts(record.get("counts", {}))} for record in content.get("takedowns", [])
        ]
        recipe = stage.options.model_validate(content["recipe"])
        return content | {
            "recipe": recipe,
            "counts": stage.read_counts(content.get("counts", {})),
            "takedowns": takedowns,
        }

    def options(self, kind: type[_SomeOptions]) -> _SomeOptions:
        """The recipe, of a stage whose options are of this ``kind``."""
        if not isinstance(self.recipe, kind):
            raise InputError(f"a folder of {self.stage} was given, where one of {stage_of(kind()).name} is needed")
        return self.recipe

    def counted(self, kind: type[_SomeCounts]) -> _SomeCounts:
        """The counts of a finished folder, which are of this ``kind``."""
        if not isinstance(self.counts, kind):
            raise InputError(f"the manifest of a folder of {self.stage} has no {kind.__name__}; is it finished?")
        return self.counts

    def trained_on(self) -> TrainingData | None:
        """What a model or tokenizer was trained on; None of folders of other stages."""
        if STAGES[self.stage].outputs[0].holds is not Holds.LEARNT:
            return None
        source: Literal["shards", "pairs"] = "shards" if "shards" in self.inputs else "pairs"
        return TrainingData(tuple(self.subsets), source, self.inputs[source])

    @property
    def shards_by_pass(self) -> list[int]:
        """Of a finished folder of shards, how many there are, pass by pass of `download`; of other folders, none."""
        if isinstance(self.counts, DownloadCounts) and isinstance(self.recipe, ImageOptions):
            size = self.recipe.shard_size
            return [-(-rows // size) for rows in self.counts.rows_by_pass]
        return [self.counts.shards] if isinstance(self.counts, (IndexCounts, ReshardCounts)) else []

    @property
    def asked(self) -> dict[str, Any]:
        """What the stage was asked to do, to show: its options, and what else was chosen."""
        chosen = {"subset": mixture(self.subsets), "protocol": self.protocol}
        return self.recipe.model_dump(mode="json") | {name: value for name, value in chosen.items() if value}

    @property
    def given(self) -> dict[str, str]:
        """The digests of all that the stage read, to show."""
        return self.inputs | subset_digests(self.subsets)

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    def line(self, folder: str) -> str:
        """What came of a stage, to show: its ``folder``, where this manifest lies, and its counts."""
        return f"{folder}: " + ", ".join(f"{name} {count:,}" for name, count in self.counts.shown.items())

    @property
    def unfinished(self) -> str:
        """Of a folder that is not complete, what has to be done first."""
        if self.status == "takedown":
            return "a takedown is half done there; run it again, with the same list, to its end first"
        return f"{self.stage} is not finished there; run it again to its end first"


def manifest_path(folder: str, stage: str | None = None) -> str:
    """Where the manifest of ``folder`` is, or, given a ``stage``, where that stage is to write it.

    Those that write shards as img2dataset does put it one folder down: its incremental mode reads every ``*.json``
    next to the shards as a shard's stats.
    """
    nested = files.join(folder, "_manifest", "manifest.json")
    is_nested = STAGES[stage].outputs[0].counts is DownloadCounts if stage else files.exists(nested)
    return nested if is_nested else files.join(folder, "manifest.json")


def read_manifest(folder: str) -> Manifest | None:
    """The folder's manifest; None where there is none, or the one that a whole run gathers of its stages."""
    path = manifest_path(folder)
    if not files.exists(path):
        return None
    try:
        content = json.loads(files.read_bytes(path))
        if isinstance(content, dict) and content.keys() == {"stages"}:
            return None
        return Manifest.model_validate(upgraded(content, folder) if isinstance(content, dict) else content)
    except ValidationError as error:
        raise InputError(f"{path}: not a manifest of clipsieve ({error.errors()[0]['msg']})") from error
    except ValueError as error:
        raise InputError(f"{path}: not a manifest of clipsieve ({error})") from error


def present_manifest(folder: str) -> Manifest:
    """The manifest of a folder that has been begun."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: its manifest is gone; run the command again")
    return manifest


def begin(
    folder: str,
    recipe: Options,
    inputs: dict[str, str],
    grown: Mapping[str, Collection[str | None]] | None = None,
    subsets: Sequence[WeightedSubset] = (),
    protocol: int | None = None,
) -> Manifest:
    """Open ``folder`` for the stage of the options ``recipe``: a new manifest, or the one that an earlier run left.

    The earlier run must have had the same recipe, but for the stage's fields that ``may_change``; the same subsets,
    wherever they lie; and the same inputs, or such as have grown since: ``grown`` holds the digests of their earlier
    states, None where there was none. A complete folder whose input has grown is opened again, to be added to.
    Raises InputError for a folder that was begun with another recipe or input.
    """
    manifest = read_manifest(folder)
    wanted = Manifest(
        stage=stage_of(recipe).name,
        recipe=recipe,
        inputs=inputs,
        subsets=list(subsets),
        protocol=protocol,
        versions=_versions(),
        started_at=now(),
    )
    if manifest is None:
        _write(folder, wanted)
        return wanted
    _refuse_difference(folder, manifest, wanted, grown or {})
    if manifest.complete and manifest.inputs != inputs:
        return reopen(folder, manifest, recipe, inputs)
    if not manifest.complete:
        again = manifest.model_copy(update={"recipe": recipe, "inputs": inputs, "subsets": wanted.subsets})
        if again != manifest:
            _write(folder, again)
        return again
    return manifest


def reopen(folder: str, complete: Manifest, recipe: Options, inputs: dict[str, str]) -> Manifest:
    """Open a complete folder again, to add files to those that are there; these must stay as they are."""
    again = Manifest(
        stage=complete.stage,
        recipe=recipe,
        inputs=inputs,
        subsets=complete.subsets,
        protocol=complete.protocol,
        versions=_versions(),
        started_at=now(),
        earlier=[*complete.earlier, complete.model_copy(update={"earlier": [], "takedowns": []})],
        takedowns=complete.takedowns,
    )
    _write(folder, again)
    return again


@contextmanager
def withdrawn_if_empty(*folders: str) -> Iterator[None]:
    """Take `begin` back where the block refuses its input before any data is written."""
    try:
        yield
    except InputError:
        for folder in folders:
            if not files.list_files(folder, ".parquet"):
                files.remove(manifest_path(folder))
        raise


def withdraw(folder: str, manifest: Manifest, paths: Sequence[str]) -> None:
    """Take `begin` back, and remove the files at ``paths``, in their order; a folder that this is stopped in is not
    complete."""
    _write(folder, manifest.model_copy(update={"status": "running", "counts": Counts(), "digest": None}))
    files.remove(*paths, manifest_path(folder))


def finish(folder: str, manifest: Manifest, counts: Counts, digest: str) -> Manifest:
    """Close ``folder``: the last write of a stage."""
    done = manifest.model_copy(update={"status": "complete", "counts": counts, "digest": digest, "finished_at": now()})
    _write(folder, done)
    return done


def begin_takedown(folder: str, manifest: Manifest) -> None:
    """Mark a complete folder as one from which pairs are being removed: no stage resumes from it."""
    _write(folder, manifest.model_copy(update={"status": "takedown"}))


def finish_takedown(folder: str, changed: Manifest, record: Takedown | None) -> Manifest:
    """Close a folder after a takedown with its ``changed`` manifest; no record where it held none of the pairs."""
    takedowns = [*changed.takedowns, *([record] if record else [])]
    done = changed.model_copy(update={"status": "complete", "takedowns": takedowns})
    _write(folder, done)
    return done


def input_digest(path: str) -> str:
    """Digest of a stage's input: of a folder of ours, its manifest's; of a foreign one, of its files' names and sizes;
    of a file, of its bytes."""
    fs, inner = files.filesystem(path)
    if fs.isfile(inner):
        return files.sha256_file(path)
    if not fs.isdir(inner):
        raise InputError(f"{path}: no such file or folder")
    manifest = read_manifest(path)
    if manifest is None:
        listing = sorted(
            (files.name_of(e["name"]), e["size"]) for e in fs.ls(inner, detail=True) if e["type"] == "file"
        )
        return files.sha256_text(*(f"{name} {size}" for name, size in listing))
    if not manifest.complete or manifest.digest is None:
        raise InputError(f"{path}: {manifest.unfinished}")
    return manifest.digest


def weighted_subset(path: str, weight: float = 1.0) -> WeightedSubset:
    """The subset in the file ``path``, as a manifest records it."""
    return WeightedSubset(name=PurePosixPath(path).stem, path=path, weight=weight, digest=input_digest(path))


def earlier_digests(path: str) -> list[str]:
    """What `input_digest` was of a folder of ours before files were added to it; of any other path, nothing."""
    manifest = read_manifest(path)
    return [str(before.digest) for before in manifest.earlier] if manifest else []


def known_digests(made: Manifest) -> set[str]:
    """The digests under which other folders may know the one of the manifest ``made``: the data's as it is and as it
    was before files were added or pairs were removed."""
    before = {digest for takedown in made.takedowns for digest in takedown.digests}
    return before | {str(state.digest) for state in (made, *made.earlier)}


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _write(folder: str, manifest: Manifest) -> None:
    files.write_bytes(manifest_path(folder, manifest.stage), manifest.model_dump_json(indent=1).encode() + b"\n")


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version(), **versions}


def _refuse_difference(
    folder: str, manifest: Manifest, wanted: Manifest, grown: Mapping[str, Collection[str | None]]
) -> None:
    if manifest.status == "takedown":
        raise InputError(f"{folder}: {manifest.unfinished}")
    if manifest.stage != wanted.stage:
        raise InputError(f"{folder}: holds the output of {manifest.stage}, not of {wanted.stage}; choose another --out")
    changes = [
        f"`{name}` was {old!r}, now {new!r}"
        for name, old, new in _differences(manifest.asked, wanted.asked)
        if name not in manifest.recipe.may_change
    ]
    changes += [
        f"`{name}` was {old!r}, now {new!r}"
        for name, old, new in _differences(manifest.given, wanted.given)
        if old not in grown.get(name, ())
    ]
    if changes:
        state = "done" if manifest.complete else "half done"
        raise InputError(
            f"{folder}: {state} with another recipe or input: {'; '.join(changes)}. "
            "Use the old values, choose another --out, or remove the folder"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The names whose values differ, each with both values."""
    both = [(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    return [(name, before, after) for name, before, after in both if before != after]
