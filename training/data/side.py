"""The side tables of a run, joined to its pairs by uid: other captions, and a teacher's embeddings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from clipsieve.schemas.manifest import input_digest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.terminal import say
from clipsieve.training.data.captions import Captions, build_texts, text_inputs
from clipsieve.training.data.plan_file import SamplePlan
from clipsieve.training.data.side_index import side_folder
from clipsieve.training.data.teacher import Teacher, build_teacher
from clipsieve.training.runtime import Runtime


@dataclass(frozen=True)
class SideTables:
    """What is known of a run's pairs beside their shards; None: nothing of that kind."""

    captions: Captions | None = None
    teacher: Teacher | None = None
    without_text: int | None = None
    """Pairs that keep their own caption where a table that has no text of theirs is drawn."""
    without_teacher: int | None = None
    """Pairs of which the teacher has no embeddings."""


def side_inputs(options: TrainOptions) -> dict[str, str]:
    """The digests of the side tables, as the manifest has them."""
    return text_inputs(options.texts) | ({"teacher": input_digest(options.teacher)} if options.teacher else {})


def open_side_tables(plan: SamplePlan, out: str, options: TrainOptions, runtime: Runtime) -> SideTables:
    """Build the run's side tables in its first process, and open them in each; every process calls it.

    Raises InputError for a table that is none, and for an ``out`` that is not local.
    """
    if not options.texts and not options.teacher:
        return SideTables()

    if runtime.is_first:
        build_texts(options.texts, out)
        if options.teacher:
            build_teacher(options.teacher, out)
    runtime.barrier()
    captions = Captions(options.texts, out, plan.raw_uids, options.seed) if options.texts else None
    teacher = Teacher(out, plan.raw_uids) if options.teacher else None
    lacking = [table.lacking(len(plan)) if table and runtime.is_first else None for table in (captions, teacher)]
    for count, what in zip(lacking, ("text in a table of --texts", "embeddings in --teacher"), strict=True):
        if count:
            say(f"{count:,} of {len(plan):,} pairs have no {what}", is_error=True)
    return SideTables(captions, teacher, *lacking)


def drop_side_tables(out: str, options: TrainOptions) -> None:
    """Remove what a run that is done has built."""
    if options.texts or options.teacher:
        shutil.rmtree(side_folder(out), ignore_errors=True)
