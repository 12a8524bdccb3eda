"""Cut exact quality subsets and nested samples from scores, in one job over score files.

    score files -> histogram -> advance the plan     (10 to 14 scans; once all is known they read nothing)
                -> OUT/selection/NNNNN.parquet       (a file for each score file)
                -> OUT/subsets/topQ.{parquet,npy}, OUT/samples/SIZE.{parquet,npy}

Between scans only histograms travel (thresholds.py); no model is loaded and no image read (law 4). What is in a
subset can be read from the selection table's two ranks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton

from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import ListParts, folder_digest, part_of, read_parts, selection_counts
from clipsieve.pipelines.select import plan as selection
from clipsieve.pipelines.select import thresholds
from clipsieve.pipelines.select.plan import SelectionPlan, Subset, subsets_of
from clipsieve.pipelines.select.scans import Scan
from clipsieve.pipelines.select.scored import NOT_A_MEMBER, Sources
from clipsieve.pipelines.select.sorted_uids import write_uids
from clipsieve.pipelines.select.where import parse_where
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.counts import Counts, MemberCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import WeightedMembers, write_members
from clipsieve.schemas.opt_out import INPUT_NAME, load_opt_out
from clipsieve.schemas.options import SelectOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.uid import uid_bytes

MEMBERS_NAME = "_members.npy"
FILES_PER_WORKER = 32
"""Score files of 10,000 pairs that are worth the seconds in which a worker process starts."""


def run(
    scores: str,
    out: str,
    options: SelectOptions,
    beam_args: Sequence[str] = (),
    opt_out: str | None = None,
    filters: str | None = None,
    dedup: str | None = None,
    members: Sequence[str] = (),
) -> Manifest:
    """Select from the score files of the folder ``scores``, or the one at ``scores``; returns OUT/selection's manifest.

    Any Parquet with uid and a column of numbers is a score file. The outcome depends on the rows alone, not on how
    they lie in files, nor on workers. Not eligible is a uid that the file ``opt_out`` lists, a row with a
    ``reject_reason`` in the file of its name in the folder ``filters``, with a ``duplicate_of`` in ``dedup``, or
    for which the condition ``options.where`` does not hold, or that one of the subset files ``members`` lacks. Raises
    InputError for a similarity that is not finite, a sample larger than its pool, a uid that is duplicated in a subset,
    a list with URLs or domains that the scores were not made with, and for members that the scores lack, unless
    ``options.allow_missing``.
    """
    paths = [scores] if scores.endswith(".parquet") else files.list_files(scores, ".parquet")
    if not paths:
        raise InputError(f"{scores}: no scores (*.parquet) in this folder")
    parse_where(options.where)
    listed = load_opt_out(opt_out)
    listed.expect_applied(manifest.read_manifest(scores))
    folders = {"scores": scores, "filters": filters, "dedup": dedup}
    inputs = {name: manifest.input_digest(path) for name, path in folders.items() if path} | listed.inputs
    inputs |= {f"members {files.name_of(path)}": manifest.input_digest(path) for path in members}
    allowed = _intersection(members)
    subsets = subsets_of(options) if options.subsets else []
    with only_writer(out):
        opened = {
            name: manifest.begin(files.join(out, name), options, inputs)
            for name in dict.fromkeys(["selection", *(subset.folder for subset in subsets)])
        }
        if not all(found.complete for found in opened.values()):
            list_of_members = None
            if allowed is not None:
                list_of_members = write_members(allowed, files.join(out, "selection", MEMBERS_NAME))
            sources = Sources(options.score_column, options.where, opt_out, filters, dedup, list_of_members)
            _select(paths, subsets, out, options, sources, list(opened), beam_args)
        missing = None if allowed is None else _missing(files.join(out, "selection"), allowed, options.allow_missing)
        for name, found in opened.items():
            if not found.complete:
                opened[name] = _finish(files.join(out, name), found, missing)
        return opened["selection"]


def _intersection(paths: Sequence[str]) -> np.ndarray | None:
    """The uids bytes[N] of 16, ascending, that are in each of the subset files; None where there is none."""
    lists = [WeightedMembers(path).uids for path in paths]
    return reduce(partial(np.intersect1d, assume_unique=True), lists) if lists else None


def _missing(folder: str, allowed: np.ndarray, may_be: bool) -> int:
    """How many of the members the scores lack. Raises InputError where some are missing and none ``may_be``."""
    counts = selection_counts(read_parts(folder), has_list=False)
    missing = len(allowed) - counts.pairs + counts.left_out.get(NOT_A_MEMBER, 0)
    if missing and not may_be:
        raise InputError(
            f"{folder}: {missing} of the {len(allowed)} members are not among the scores; `allow_missing` selects from "
            "the others"
        )
    return missing


def _select(
    paths: list[str],
    subsets: list[Subset],
    out: str,
    options: SelectOptions,
    sources: Sources,
    names: list[str],
    beam_args: Sequence[str],
) -> None:
    folders = [files.join(out, name) for name in names]

    def written() -> Reading:
        return Reading(sum(len(files.list_files(folder, ".parquet")) for folder in folders))

    with (
        manifest.withdrawn_if_empty(*folders),
        files.without_leftovers(*folders),
        progress("select (tables)", len(paths) + len(subsets), written),
    ):
        tasks = -(-len(paths) // FILES_PER_WORKER)
        runner.run_job(_build(paths, subsets, out, options, sources), tasks, beam_args)


def _build(
    paths: list[str], subsets: list[Subset], out: str, options: SelectOptions, sources: Sources
) -> Callable[[beam.Pipeline], None]:
    def build(pipeline: beam.Pipeline) -> None:
        score_files = pipeline | "Score files" >> beam.Create(paths)
        plan = pipeline | "No plan yet" >> beam.Create([SelectionPlan(options)])
        for number in range(selection.most_scans(options)):
            plan = (score_files, plan) | f"Scan {number}" >> Scan(sources)
        selected = score_files | "Select" >> beam.Map(
            write_selection, AsSingleton(plan), files.join(out, "selection"), sources
        )
        selected | "Digest" >> beam.Map(part_of) | "List" >> ListParts(files.join(out, "selection"))
        for folder in dict.fromkeys(subset.folder for subset in subsets):
            (
                pipeline
                | f"Names of {folder}" >> beam.Create([subset for subset in subsets if subset.folder == folder])
                | f"Cut {folder}" >> beam.FlatMap(write_subset, AsSingleton(plan), AsIter(selected), out)
                | f"Digest {folder}" >> beam.Map(part_of)
                | f"List {folder}" >> ListParts(files.join(out, folder))
            )

    return build


def write_selection(path: str, plan: SelectionPlan, out: str, sources: Sources) -> str:
    """Write the selection of one score file, under the same name; returns its path."""
    target = files.join(out, files.name_of(path))
    if files.exists(target):
        return target
    with tables.table_writer(tables.SELECTION, target) as write:
        for rows in sources.read(path):
            quantiles = np.zeros(len(rows.is_eligible))
            quantiles[rows.is_eligible] = selection.quantile_ranks(plan, rows.where(rows.is_eligible))
            columns = {
                "uid": rows.uids,
                "similarity": pa.array(rows.similarity, from_pandas=True),
                "quantile_rank": pa.array(quantiles, mask=~rows.is_eligible),
                "reject_reason": rows.reject_reason,
                "duplicate_of": rows.duplicate_of,
                "sample_rank": thresholds.unit_interval(thresholds.hash_of(rows.raw_uids, plan.options.seed)),
            }
            write(pa.table(columns, schema=tables.SELECTION.schema))
    return target


def write_subset(subset: Subset, plan: SelectionPlan, selected: Iterable[str], out: str) -> Iterator[str]:
    """Write a subset's Parquet, in the order of the score files, and its npy, sorted; yields both paths."""
    path = files.join(out, subset.folder, subset.name)
    with tables.table_writer(tables.SUBSET, f"{path}.parquet") as write:

        def written() -> Iterator[np.ndarray]:
            for members in _members(subset, plan, sorted(selected)):
                write(members)
                yield uid_bytes(members["uid"])

        npy = write_uids(written(), f"{path}.npy")
    yield from (f"{path}.parquet", npy)


def _members(subset: Subset, plan: SelectionPlan, selected: Iterable[str]) -> Iterator[pa.Table]:
    for path in selected:
        for batch in tables.iter_batches(path, tables.SELECTION, [*tables.SUBSET.columns, "sample_rank"]):
            quantiles, samples = (
                batch[name].to_numpy(zero_copy_only=False) for name in ("quantile_rank", "sample_rank")
            )
            is_member = selection.members(plan, subset, quantiles, samples)
            yield pa.Table.from_batches([batch.filter(pa.array(is_member))]).select(tables.SUBSET.columns)


def _finish(folder: str, opened: Manifest, missing: int | None) -> Manifest:
    parts = read_parts(folder)
    rows = {part.name.removesuffix(".parquet"): part.rows for part in parts if part.name.endswith(".parquet")}
    counts: Counts = MemberCounts(members=rows)
    if files.name_of(folder) == "selection":
        counts = selection_counts(parts, has_list=INPUT_NAME in opened.inputs).model_copy(update={"missing": missing})
        files.remove(files.join(folder, MEMBERS_NAME))
    return manifest.finish(folder, opened, counts, folder_digest(parts))
