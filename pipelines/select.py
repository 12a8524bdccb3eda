"""Cut exact quality subsets and nested samples from scores, in one job over score files.

    score files -> histogram -> advance the plan     (10 to 14 passes; once all is known they read nothing)
                -> OUT/selection/NNNNN.parquet       (a file for each score file)
                -> OUT/subsets/topQ.{parquet,npy}, OUT/samples/SIZE.{parquet,npy}

Between passes only histograms travel (thresholds.py); no model is loaded and no image read (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton

from pipelines import engine, selection, thresholds
from pipelines.command import run_command
from pipelines.parts import ListParts, folder_digest, part_of, read_parts
from pipelines.progress import progress
from pipelines.scored import read_scored
from pipelines.selection import Plan, Scored
from schemas import files, manifest, tables
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.recipe import SelectOptions, size_name
from schemas.uid import from_u64_pairs, to_u64_pairs, uid_bytes, uid_strings

FILES_PER_WORKER = 32
"""Score files of 10,000 pairs that are worth the seconds in which a worker process starts."""


@dataclass(frozen=True)
class Subset:
    """One subset or sample to write: its folder and name, and which rows are its members."""

    folder: str
    name: str
    amount: float
    """Per cent of a quality subset, pairs of a sample."""

    def members(self, plan: Plan, rows: Scored) -> np.ndarray:
        if self.folder == "subsets":
            return selection.in_top(plan, rows, self.amount)
        return selection.in_sample(plan, rows, int(self.amount))


def subsets_of(options: SelectOptions) -> dict[str, list[Subset]]:
    """What to cut, by folder; a folder that would hold nothing is left out."""
    tops = [Subset("subsets", f"top{percent:g}", percent) for percent in options.fractions]
    samples = [Subset("samples", size_name(size), size) for size in sorted(set(options.sizes))]
    return {folder: members for folder, members in (("subsets", tops), ("samples", samples)) if members}


def run(scores: str, out: str, options: SelectOptions, beam_args: Sequence[str] = ()) -> Manifest:
    """Select from the score files of the folder ``scores``; returns the manifest of OUT/selection.

    Any Parquet with uid and similarity is a score file. The outcome depends on the rows alone, not on how
    they lie in files, nor on workers. Raises InputError for a similarity that is not finite, a sample larger
    than the pool, or a uid that stands twice in a subset.
    """
    paths = files.list_files(scores, ".parquet")
    if not paths:
        raise InputError(f"{scores}: no scores (*.parquet) in this folder")
    subsets = subsets_of(options)
    inputs = {"scores": manifest.input_digest(scores)}
    opened = {
        name: manifest.begin(files.join(out, name), "select", options.model_dump(), inputs)
        for name in ("selection", *subsets)
    }
    if not all(found.complete for found in opened.values()):
        folders = [files.join(out, name) for name in opened]
        for folder in folders:
            files.remove_leftovers(folder)
        written = partial(files.list_files, folders[0], ".parquet")
        with (
            manifest.withdrawn_if_empty(*folders),
            progress("select (files)", len(paths), lambda: len(written())),
        ):
            tasks = -(-len(paths) // FILES_PER_WORKER)
            engine.run_job(_build(paths, subsets, out, options), tasks, beam_args)
    for name, found in opened.items():
        if not found.complete:
            opened[name] = _finish(files.join(out, name), found)
    return opened["selection"]


def _build(
    paths: list[str], subsets: dict[str, list[Subset]], out: str, options: SelectOptions
) -> Callable[[beam.Pipeline], None]:
    def build(pipeline: beam.Pipeline) -> None:
        score_files = pipeline | "Score files" >> beam.Create(paths)
        plan = pipeline | "No plan yet" >> beam.Create([Plan(options)])
        for number in range(selection.MOST_PASSES if options.sizes else thresholds.QUALITY_DIGITS):
            plan = (score_files, plan) | f"Pass {number}" >> Pass()
        selected = score_files | "Select" >> beam.Map(write_selection, AsSingleton(plan), files.join(out, "selection"))
        selected | "Digest" >> beam.Map(part_of) | "List" >> ListParts(files.join(out, "selection"))
        for folder, members in subsets.items():
            (
                pipeline
                | f"Names of {folder}" >> beam.Create(members)
                | f"Cut {folder}" >> beam.FlatMap(write_subset, AsSingleton(plan), AsIter(selected), out)
                | f"Digest {folder}" >> beam.Map(part_of)
                | f"List {folder}" >> ListParts(files.join(out, folder))
            )

    return build


class Pass(beam.PTransform):
    """(score files, plan) -> the plan after one more look at every row."""

    def expand(self, inputs: tuple[beam.PCollection[str], beam.PCollection[Plan]]) -> beam.PCollection[Plan]:
        score_files, plan = inputs
        return (
            score_files
            | "Count" >> beam.Map(count_file, AsSingleton(plan))
            | "Add" >> beam.CombineGlobally(thresholds.add).without_defaults()
            | "Advance" >> beam.Map(lambda histogram, plan: selection.advance(plan, histogram), AsSingleton(plan))
        )


def count_file(path: str, plan: Plan) -> thresholds.Histogram:
    """The histogram of a score file; for a plan that is finished an empty one, and the file is not read."""
    if plan.finished:
        return thresholds.EMPTY
    return thresholds.add(selection.count_rows(plan, rows) for rows in read_scored(path))


def write_selection(path: str, plan: Plan, out: str) -> str:
    """Write the selection of one score file, under the same name; returns its path."""
    target = files.join(out, files.name_of(path))
    if files.exists(target):
        return target
    with tables.table_writer(tables.SELECTION, target) as write:
        for rows in read_scored(path):
            nothing = pa.nulls(len(rows.uids), pa.string())
            columns = {
                "uid": rows.uids,
                "similarity": rows.similarity,
                "quantile_rank": selection.quantile_ranks(plan, rows),
                "reject_reason": nothing,
                "duplicate_of": nothing,
                "sample_rank": thresholds.unit_interval(rows.hashes(plan.options.seed)),
            }
            write(pa.table(columns, schema=tables.SELECTION.schema))
    return target


def write_subset(subset: Subset, plan: Plan, selected: Iterable[str], out: str) -> Iterator[str]:
    """Write a subset's Parquet, in the order of the score files, and its npy, sorted; yields both paths.

    16 bytes a member are held, for the npy; the table is streamed.
    """
    path = files.join(out, subset.folder, f"{subset.name}.parquet")
    raw = [np.zeros((0, 16), np.uint8)]
    with tables.table_writer(tables.SUBSET, path) as write:
        for source in sorted(selected):
            for batch in tables.iter_batches(source, tables.SELECTION, tables.SUBSET.columns):
                rows = Scored(batch["uid"], batch["similarity"].to_numpy())
                members = pa.Table.from_batches([batch]).filter(pa.array(subset.members(plan, rows)))
                write(members)
                raw.append(uid_bytes(members["uid"]))
    yield path
    yield write_uids(np.concatenate(raw), files.join(out, subset.folder, f"{subset.name}.npy"))


def write_uids(raw: np.ndarray, path: str) -> str:
    """Write uid bytes uint8[N, 16] as DataComp's subset file: structured (upper64, lower64)[N], sorted."""
    pairs = to_u64_pairs(raw)
    pairs = pairs[np.lexsort((pairs["f1"], pairs["f0"]))]
    repeated = pairs[1:] == pairs[:-1]
    if repeated.any():
        raise InputError(
            f"{path}: uid {_uid_of_pair(pairs, int(np.argmax(repeated)))} stands twice in the scores; "
            "remove one of the rows"
        )
    with files.atomic_write(path) as stream:
        np.save(stream, pairs)
    return path


def _uid_of_pair(pairs: np.ndarray, index: int) -> str:
    return uid_strings(from_u64_pairs(pairs[index : index + 1]))[0]


def _finish(folder: str, opened: Manifest) -> Manifest:
    parts = read_parts(folder)
    counts = {part.name.removesuffix(".parquet"): part.rows for part in parts if part.name.endswith(".parquet")}
    if files.name_of(folder) == "selection":
        counts = {"pairs": sum(counts.values()), "eligible": sum(counts.values())}
    return manifest.finish(folder, opened, counts, folder_digest(parts))


if __name__ == "__main__":
    # By its own name: worker processes cannot find what a module called __main__ defines.
    from pipelines import select

    raise SystemExit(run_command(select.run, ("scores", "out"), SelectOptions))
