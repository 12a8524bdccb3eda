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
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import STAGE_OPTIONS

STAGE_FOLDERS = ("shards", "scores", "filters", "dedup", "selection", "subsets", "samples", "tokenizer")
STAGE_PARENTS = ("resharded", "models", "evaluations")
"""The folders of a run that one stage fills, and those that hold one such folder a subset or model."""
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
    counts: dict[str, int]
    """The folder's counts before."""
    digests: list[str]
    """Before: the folder's own, those of its earlier states, and SHA-256 of each file that may have been an input."""


class Manifest(BaseModel):
    """One output folder's origin."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    status: Literal["running", "complete", "takedown"] = "running"
    """takedown: complete, and pairs are being removed; the files do not agree until that has ended."""
    recipe: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    started_at: str
    finished_at: str | None = None
    counts: dict[str, int] = {}
    digest: str | None = None
    """Digest of the folder's data, times left out: equal for two runs of one recipe on one input."""
    earlier: list[Manifest] = []
    """What this manifest was each time that the folder was complete and then added to, without their own
    ``earlier``; the files that they describe are still there, unchanged but for the pairs that takedowns removed."""
    takedowns: list[Takedown] = []

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    def line(self, folder: str) -> str:
        """What came of a stage, to show: its ``folder``, where this manifest lies, and its counts."""
        return f"{folder}: " + ", ".join(f"{name} {count:,}" for name, count in self.counts.items())

    @property
    def unfinished(self) -> str:
        """Of a folder that is not complete, what has to be done first."""
        if self.status == "takedown":
            return "a takedown is half done there; run it again, with the same list, to its end first"
        return f"{self.stage} is not finished there; run it again to its end first"


def manifest_path(folder: str, stage: str | None = None) -> str:
    """Where the manifest of ``folder`` is, or, given a ``stage``, where that stage is to write it.

    Download puts it one folder down: img2dataset's incremental mode reads every ``*.json`` beside the shards as a
    shard's stats.
    """
    nested = files.join(folder, "_manifest", "manifest.json")
    is_nested = stage == "download" if stage else files.exists(nested)
    return nested if is_nested else files.join(folder, "manifest.json")


def read_manifest(folder: str) -> Manifest | None:
    """The folder's manifest; None where there is none."""
    path = manifest_path(folder)
    if not files.exists(path):
        return None
    try:
        return Manifest.model_validate_json(files.read_bytes(path))
    except ValidationError as error:
        raise InputError(f"{path}: not a manifest of clipsieve ({error.errors()[0]['msg']})") from error


def begin(
    folder: str,
    stage: str,
    recipe: dict[str, Any],
    inputs: dict[str, str],
    grown: Mapping[str, Collection[str]] | None = None,
) -> Manifest:
    """Open ``folder`` for a stage: a new manifest, or the one that an earlier run left.

    The earlier run must have had the same recipe, but for the stage's fields that ``may_change`` and for fields
    that came later and have their default; and the same inputs, or such as have grown since: ``grown`` holds the
    digests of their earlier states. A complete folder whose input has grown is opened again, to be added to.
    Raises InputError for a folder that was begun with another recipe or input.
    """
    recipe = json.loads(json.dumps(recipe))
    manifest = read_manifest(folder)
    if manifest is None:
        manifest = Manifest(stage=stage, recipe=recipe, inputs=inputs, versions=_versions(), started_at=now())
        _write(folder, manifest)
        return manifest
    _refuse_difference(folder, manifest, stage, recipe, inputs, grown or {})
    if manifest.complete and manifest.inputs != inputs:
        return reopen(folder, manifest, recipe, inputs)
    if not manifest.complete and (manifest.recipe, manifest.inputs) != (recipe, inputs):
        manifest = manifest.model_copy(update={"recipe": recipe, "inputs": inputs})
        _write(folder, manifest)
    return manifest


def reopen(folder: str, complete: Manifest, recipe: dict[str, Any], inputs: dict[str, str]) -> Manifest:
    """Open a complete folder again, to add files to those that are there; these must stay as they are."""
    again = Manifest(
        stage=complete.stage,
        recipe=json.loads(json.dumps(recipe)),
        inputs=inputs,
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
                fs, inner = files.filesystem(manifest_path(folder))
                fs.rm(inner)
        raise


def finish(folder: str, manifest: Manifest, counts: dict[str, int], digest: str) -> Manifest:
    """Close ``folder``: the last write of a stage."""
    done = manifest.model_copy(update={"status": "complete", "counts": counts, "digest": digest, "finished_at": now()})
    _write(folder, done)
    return done


def begin_takedown(folder: str, manifest: Manifest) -> None:
    """Mark a complete folder as one from which pairs are being removed: no stage goes on from it."""
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


def earlier_digests(path: str) -> list[str]:
    """What `input_digest` was of a folder of ours before files were added to it; of any other path, nothing."""
    manifest = read_manifest(path)
    return [str(before.digest) for before in manifest.earlier] if manifest else []


def known_digests(made: Manifest) -> set[str]:
    """The digests under which other folders may know the one of the manifest ``made``: the data's as it is and as it
    was before files were added or pairs were removed."""
    before = {digest for takedown in made.takedowns for digest in takedown.digests}
    return before | {str(state.digest) for state in (made, *made.earlier)}


def stages(run_dir: str) -> dict[str, Manifest]:
    """The manifests of a run's folders by their names under ``run_dir``, in the order in which data flows."""
    names = list(STAGE_FOLDERS)
    for parent in STAGE_PARENTS:
        folders = files.list_folders(files.join(run_dir, parent))
        names += [f"{parent}/{files.name_of(folder)}" for folder in folders]
    found = {name: read_manifest(files.join(run_dir, name)) for name in names}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def gather(run_dir: str) -> None:
    """Write ``run_dir``/manifest.json: the manifests of all its stages in one file."""
    gathered = {name: manifest.model_dump() for name, manifest in stages(run_dir).items()}
    content = json.dumps({"stages": gathered}, indent=1, ensure_ascii=False)
    files.write_if_changed(files.join(run_dir, "manifest.json"), content.encode() + b"\n")


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _write(folder: str, manifest: Manifest) -> None:
    files.write_bytes(manifest_path(folder, manifest.stage), manifest.model_dump_json(indent=1).encode() + b"\n")


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version(), **versions}


def _refuse_difference(
    folder: str,
    manifest: Manifest,
    stage: str,
    recipe: dict[str, Any],
    inputs: dict[str, str],
    grown: Mapping[str, Collection[str]],
) -> None:
    if manifest.status == "takedown":
        raise InputError(f"{folder}: {manifest.unfinished}")
    if manifest.stage != stage:
        raise InputError(f"{folder}: holds the output of {manifest.stage}, not of {stage}; choose another --out")
    options = STAGE_OPTIONS[stage]
    defaults = options().model_dump(mode="json")
    before = {name: value for name, value in defaults.items() if name in recipe} | manifest.recipe
    changed = [name for name in _differences(before, recipe) if name not in options.may_change]
    replaced = [
        name for name in _differences(manifest.inputs, inputs) if manifest.inputs.get(name) not in grown.get(name, ())
    ]
    changes = [f"`{name}` was {before.get(name)!r}, now {recipe.get(name)!r}" for name in changed]
    changes += [f"`{name}` was {manifest.inputs.get(name)!r}, now {inputs.get(name)!r}" for name in replaced]
    if changes:
        state = "done" if manifest.complete else "half done"
        raise InputError(
            f"{folder}: {state} with another recipe or input: {'; '.join(changes)}. "
            "Use the old values, choose another --out, or remove the folder"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
