"""Judge every pair by rules, in one job over score files.

    score files -> each rule's survey of all pairs, where it needs one (a threshold, what repeats, clusters)
                -> OUT/NNNNN.parquet   (a file for each score file: uid, reject_reason, a column a rule)
                -> OUT/_waterfall.json (counted from these files)

No image is read (law 4). A rule judges each pair by itself or against all pairs, never against what other rules left,
so the rules' order decides a pair's reject_reason and not whether it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton

from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import ListParts, folder_digest, part_of, read_parts
from clipsieve.pipelines.filters.columns import PairColumns
from clipsieve.pipelines.filters.registry import parse_rules
from clipsieve.pipelines.filters.rule import Rule
from clipsieve.pipelines.filters.verdicts import Tally, add, filter_counts, tally_file, verdict_table, waterfall_of
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import FilterOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.waterfall import read_waterfall, write_waterfall

FILES_PER_WORKER = 8
"""Score files of 10,000 pairs that are worth the seconds in which a worker process starts."""


def run(
    scores: str,
    out: str,
    options: FilterOptions,
    beam_args: Sequence[str] = (),
    shards: str | None = None,
    targets: str | None = None,
    drift: str | None = None,
) -> Manifest:
    """Filter the pairs of the score files in the folder ``scores`` into ``out``; returns its manifest.

    Columns that the score files lack are looked up, by uid, in the folder ``drift`` that `clipsieve drift` wrote and in
    the folder ``shards``. ``targets`` is a file or folder
    of embeddings, for rules that compare with a target set. Raises InputError for a text that is no rule, and for a
    column or an embedding that a rule needs and is not there.
    """
    rules, pool = parse_rules(options.rules), PairColumns(shards, targets, drift)
    for rule in rules:
        rule.judge.check(pool)
    paths = files.list_files(scores, ".parquet")
    if not paths:
        raise InputError(f"{scores}: no scores (*.parquet) in this folder")
    folders = {"scores": scores, "shards": shards, "targets": targets, "drift": drift}
    inputs = {name: manifest.input_digest(path) for name, path in folders.items() if path}
    with only_writer(out):
        opened = manifest.begin(out, options, inputs)
        if opened.complete:
            return opened
        with (
            manifest.withdrawn_if_empty(out),
            files.without_leftovers(out),
            progress("filter (score files)", len(paths), lambda: Reading(len(files.list_files(out, ".parquet")))),
        ):
            runner.run_job(_build(paths, rules, pool, out), -(-len(paths) // FILES_PER_WORKER), beam_args)
        return manifest.finish(out, opened, filter_counts(read_waterfall(out)), folder_digest(read_parts(out)))


def _build(paths: list[str], rules: Sequence[Rule], pool: PairColumns, out: str) -> Callable[[beam.Pipeline], None]:
    def build(pipeline: beam.Pipeline) -> None:
        score_files = pipeline | "Score files" >> beam.Create(paths)
        findings = {}
        for place, rule in enumerate(rules):
            found = score_files | f"Survey: {rule.reason}" >> Survey(rule, pool, out)
            findings[_name(place)] = AsSingleton(found)
        judged = score_files | "Judge" >> beam.Map(write_verdicts, rules, pool, out, **findings)
        judged | "Digest" >> beam.Map(part_of) | ListParts(out)
        (
            judged
            | "Tally" >> beam.Map(tally_file, [rule.reason for rule in rules])
            | "Add" >> beam.CombineGlobally(add).without_defaults()
            | "Waterfall" >> beam.Map(_write_waterfall, rules, out)
        )

    return build


class Survey(beam.PTransform):
    """Score files -> what a rule must know of all pairs, as one element; None where it needs nothing."""

    def __init__(self, rule: Rule, pool: PairColumns, out: str) -> None:
        super().__init__()
        self.rule, self.pool, self.out = rule, pool, out

    def expand(self, score_files: beam.PCollection[str]) -> beam.PCollection:
        found = self.rule.judge.survey(score_files, self.pool, self.out)
        return found if found is not None else score_files.pipeline | "Nothing" >> beam.Create([None])


def write_verdicts(path: str, rules: Sequence[Rule], pool: PairColumns, out: str, **findings: Any) -> str:
    """Write the verdicts on one score file, under the same name; returns their path."""
    target = files.join(out, files.name_of(path))
    if files.exists(target):
        return target
    rows = pool.read(path, [name for rule in rules for name in rule.judge.columns])
    rejected = [rule.judge.rejects(rows, findings[_name(place)]) for place, rule in enumerate(rules)]
    table = verdict_table(rows.batch["uid"], [rule.reason for rule in rules], np.stack(rejected, axis=1))
    tables.write_table(table, tables.FILTERS, target)
    return target


def _name(place: int) -> str:
    return f"rule_{place}"


def _write_waterfall(counted: Tally, rules: Sequence[Rule], out: str) -> None:
    write_waterfall(waterfall_of(counted, [(rule.reason, rule.text) for rule in rules]), out)
