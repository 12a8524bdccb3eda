"""Lineage: what each folder says that it was made from is what the run's other folders hold."""

from __future__ import annotations

from collections.abc import Mapping

from clipsieve.pipelines.verify.checks import Check, expect
from clipsieve.schemas import files
from clipsieve.schemas.manifest import known_digests
from clipsieve.schemas.run import Made, Run
from clipsieve.schemas.stages import STAGES, Holds, Source
from clipsieve.schemas.training_data import WeightedSubset


def check_lineage(run: Run) -> Check:
    """Each stage's recorded inputs are what its source folders hold now, or held before files were added to them or
    pairs removed.

    A source that is not there is passed.
    """
    finished = [made for made in run.made if made.manifest.complete]
    named = {subset.name for made in finished for subset in made.manifest.subsets}
    subsets = {name: _digests_of_subset(run, name) for name in named}
    links = sum(_is_of_source(run, made, source) for made in finished for source in made.stage.made_from)
    links += sum(_is_of_subset(made, each, subsets) for made in finished for each in made.manifest.subsets)
    return Check("manifests", f"{links} recorded inputs are what their folders hold")


def _is_of_source(run: Run, made: Made, source: Source) -> bool:
    """Whether a folder was made from another of the run; one made from an older state of it is refused."""
    name, given = files.name_of(made.name), made.manifest.inputs.get(source.input)
    origins = [
        origin for origin in run.of(*source.stages) if not source.of_same_name or files.name_of(origin.name) == name
    ]
    if given is None or not origins:
        return False
    known = {digest for origin in origins for digest in known_digests(origin.manifest)}
    where = " or ".join(dict.fromkeys(STAGES[stage].outputs[0].name for stage in source.stages))
    than = f"another {name} than there is in" if source.of_same_name else f"other {source.input} than those in"
    expect(given in known, f"{made.path}: was made from {than} {where} now")
    return True


def _digests_of_subset(run: Run, name: str) -> set[str]:
    """The digests by which the run's subset or sample ``name`` may be known; none where it has no such file."""
    folders = run.holding(Holds.MEMBERS)
    paths = [files.join(made.path, f"{name}{suffix}") for made in folders for suffix in (".npy", ".parquet")]
    now = {files.sha256_file(path) for path in paths if files.exists(path)}
    return now | {digest for made in folders for digest in known_digests(made.manifest)} if now else now


def _is_of_subset(made: Made, subset: WeightedSubset, subsets: Mapping[str, set[str]]) -> bool:
    """Whether a folder was made from a subset of this run; one made from an older subset is refused."""
    known = subsets[subset.name]
    if known:
        expect(subset.digest in known, f"{made.path}: was made from another {subset.name} than there is now")
    return bool(known)
