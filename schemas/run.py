"""A run's folder: what its stages made there, by their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.manifest import Manifest, known_digests, read_manifest
from clipsieve.schemas.stages import STAGES, Holds, Output, Stage
from clipsieve.schemas.training_data import TrainingData


@dataclass(frozen=True)
class Made:
    """A folder of a run that a stage filled, or is filling."""

    name: str
    """Its path in the run, as ``scores`` or ``models/top40``."""
    path: str
    manifest: Manifest

    @property
    def stage(self) -> Stage:
        return STAGES[self.manifest.stage]

    @property
    def output(self) -> Output:
        return self.stage.output(self.name)

    @property
    def holds(self) -> Holds:
        return self.output.holds


@dataclass(frozen=True)
class Run:
    """A run's folder as it was when it was read."""

    path: str
    made: tuple[Made, ...]
    """The folders of stages, whatever they are called, in the order in which data flows."""

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """By the folder's name."""
        return {made.name: made.manifest for made in self.made}

    def of(self, *stages: str) -> list[Made]:
        """What the stages of these names made."""
        return [made for made in self.made if made.manifest.stage in stages]

    def holding(self, *holds: Holds) -> list[Made]:
        return [made for made in self.made if made.holds in holds]

    def sources_of(self, data: TrainingData) -> list[Made]:
        """The folders of shards that ``data`` is of: those trained on, or those downloaded from the same table."""
        if data.source == "pairs":
            return [made for made in self.of("download") if made.manifest.inputs["pairs"] == data.digest]
        return [made for made in self.holding(Holds.SHARDS) if data.digest in known_digests(made.manifest)]

    @property
    def with_pairs(self) -> list[Made]:
        """The folders in which a pair can be found."""
        return [made for made in self.made if made.holds.has_pairs]


def read_run(run_dir: str) -> Run:
    """Read the manifests of the folders in ``run_dir``, one or two levels down."""
    found: list[Made] = []
    for folder in files.list_folders(run_dir):
        for path in (folder, *files.list_folders(folder)):
            manifest = read_manifest(path)
            if manifest is not None:
                found.append(Made(path.removeprefix(run_dir).strip("/"), path, manifest))
    order = list(STAGES)
    outputs = {made.name: made.stage.outputs.index(made.output) for made in found}
    found.sort(key=lambda made: (order.index(made.manifest.stage), outputs[made.name]))
    return Run(run_dir, tuple(found))


def gather(run_dir: str) -> None:
    """Write ``run_dir``/manifest.json: the manifests of all its stages in one file."""
    gathered = {name: manifest.model_dump(mode="json") for name, manifest in read_run(run_dir).manifests.items()}
    content = strict_json.dumps({"stages": gathered}, indent=1, ensure_ascii=False)
    files.write_if_changed(files.join(run_dir, "manifest.json"), content.encode() + b"\n")
