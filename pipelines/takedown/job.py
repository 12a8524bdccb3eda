"""Remove what a list names from a run, rewriting only the files that hold it.

    plan -> manifests say "takedown" -> files, each whole or as it was -> manifests, with what was done -> no plan

Whatever is stopped in between goes on when the same list is taken down again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from clipsieve.pipelines.download.passes import retry_path, shards_by_pass
from clipsieve.pipelines.pairs.table import open_pairs
from clipsieve.pipelines.takedown import plan as planning
from clipsieve.pipelines.takedown.close import Contents, contents_of
from clipsieve.pipelines.takedown.foreign import refuse_foreign
from clipsieve.pipelines.takedown.plan import TakedownPlan
from clipsieve.pipelines.takedown.shards import take_from_resharded, take_from_shard
from clipsieve.pipelines.takedown.tables import blank_file, take_from_file
from clipsieve.schemas import files, manifest
from clipsieve.schemas.counts import DownloadCounts, ReshardCounts, ScoreCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, Takedown
from clipsieve.schemas.opt_out import OptOut, load_opt_out
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.run import Made, Run, gather, read_run
from clipsieve.schemas.stages import Holds
from clipsieve.schemas.threads import map_ahead


def run(run_dir: str, opt_out: str, dry_run: bool = False) -> TakedownPlan:
    """Remove the pairs that the file ``opt_out`` lists from every folder of the run; returns what that was.

    In the shards their rows stay as a uid that failed with ``opted_out``; all else goes: images, captions, URLs,
    scores, embeddings, places in selections, subsets and samples. Models stay, and are named; a report of the run is
    removed, for it shows pictures. With ``dry_run`` nothing is changed. Raises InputError for a folder that its stage
    has not finished, and while a takedown of another list is half done.
    """
    listed = load_opt_out(opt_out)
    found = read_run(run_dir)
    if not found.made:
        raise InputError(f"{run_dir}: no folder of a run (none in it has a manifest)")
    with only_writer(run_dir, *(made.path for made in found.with_pairs)):
        return _take_down(run_dir, listed, dry_run)


def _take_down(run_dir: str, listed: OptOut, dry_run: bool) -> TakedownPlan:
    found, plan = read_run(run_dir), planning.read_plan(run_dir)
    if plan is not None and plan.opt_out != listed.digest:
        raise InputError(f"{run_dir}: a takedown of another list is half done there; run that to its end first")
    if plan is None:
        for made in found.with_pairs:
            if not made.manifest.complete:
                raise InputError(f"{made.path}: {made.manifest.unfinished}")
        refuse_foreign(found, listed)
        uids = planning.named_uids(found, listed)
        plan = planning.make_plan(found, uids, listed)
        if dry_run or not plan.touched:
            return plan
        planning.write_plan(run_dir, plan, uids)
    if not dry_run:
        _carry_out(found, plan)
    return plan


def _carry_out(run: Run, plan: TakedownPlan) -> None:
    uids = planning.read_uids(run.path)
    pending = [made for made in run.made if made.name in plan.touched and not _is_closed(made.manifest, plan)]
    for made in pending:
        manifest.begin_takedown(made.path, made.manifest)
    work = [(made.name, unit) for made in pending for unit in plan.touched[made.name]]
    done: list[tuple[str, str]] = []
    with (
        files.without_leftovers(*(made.path for made in pending)),
        progress("takedown (files)", len(work), lambda: Reading(len(done))),
    ):
        takers = {made.name: _taker(made, uids) for made in pending}
        for each, _ in zip(work, map_ahead(lambda unit: takers[unit[0]](unit[1]), work), strict=True):
            done.append(each)
    _close(run.path, plan)
    files.remove(files.join(run.path, "report"))
    if files.exists(files.join(run.path, "manifest.json")):
        gather(run.path)
    planning.drop_plan(run.path)


def _taker(made: Made, uids: np.ndarray) -> Callable[[str], None]:
    """The function that takes the pairs out of one of the folder's units."""
    folder = made.path
    if made.output.counts is DownloadCounts:
        _take_from_inputs(made, uids)
        last_pass = set(shards_by_pass(folder, made.manifest)[-1])
        return lambda name: take_from_shard(folder, name, uids, name in last_pass)
    if made.holds is Holds.SHARDS:
        return lambda name: take_from_resharded(folder, name, uids)
    return lambda name: take_from_file(files.join(folder, name), uids)


def _take_from_inputs(made: Made, uids: np.ndarray) -> None:
    """The tables from which a stage worked within its own folder: those of later passes, and the copy of its input."""
    for number in range(1, len(made.manifest.earlier) + 1):
        path = retry_path(made.path, number)
        blank_file(path, open_pairs([path]).columns.uid or "uid", uids)
    files.remove(files.join(made.path, "_pairs"))


def _close(run_dir: str, plan: TakedownPlan) -> None:
    """Write what each folder holds now into its manifest, and into those after it the digests that it has now."""
    now: list[Made] = []
    replaced: dict[str, str] = {}
    for made in read_run(run_dir).with_pairs:
        changed, record = _with_inputs(made.manifest, replaced), None
        if made.name in plan.touched and not _is_closed(made.manifest, plan):
            changed = _with_contents(changed, contents_of(made, plan))
            record = _record(made, plan)
        left_out = _left_out(made, changed, plan, now)
        changed = changed.model_copy(update={"counts": changed.counts.model_copy(update=left_out)})
        if record or changed != made.manifest:
            changed = manifest.finish_takedown(made.path, changed, record)
        now.append(replace(made, manifest=changed))
        if made.name in plan.touched:
            replaced |= _replaced(now[-1], plan)


def _with_inputs(made: Manifest, replaced: Mapping[str, str]) -> Manifest:
    """``made`` with the digests of its inputs as they are now."""
    inputs = {key: replaced.get(digest, digest) for key, digest in made.inputs.items()}
    subsets = [
        subset.model_copy(update={"digest": replaced.get(subset.digest, subset.digest)}) for subset in made.subsets
    ]
    return made.model_copy(update={"inputs": inputs, "subsets": subsets})


def _is_closed(made: Manifest, plan: TakedownPlan) -> bool:
    """Whether this takedown has ended in a folder."""
    return bool(made.complete and made.takedowns and made.takedowns[-1].begun_at == plan.begun_at)


def _with_contents(made: Manifest, contents: Contents) -> Manifest:
    earlier = [
        state.model_copy(update={"digest": digest})
        for state, digest in zip(made.earlier, contents.earlier, strict=True)
    ]
    return made.model_copy(update={"counts": contents.counts, "digest": contents.digest, "earlier": earlier})


def _record(made: Made, plan: TakedownPlan) -> Takedown:
    states = [made.manifest, *made.manifest.earlier]
    return Takedown(
        opt_out=plan.opt_out,
        begun_at=plan.begun_at,
        finished_at=manifest.now(),
        pairs=plan.folder_pairs[made.name],
        counts=made.manifest.counts,
        digests=[*(str(state.digest) for state in states), *(plan.digests[path] for path in _inputs(made, plan))],
    )


def _replaced(made: Made, plan: TakedownPlan) -> dict[str, str]:
    """The digests by which a closed folder and its files were known before -> those that they have now."""
    states = [str(state.digest) for state in (made.manifest, *made.manifest.earlier)]
    of_files = [files.sha256_file(files.join(made.path, files.name_of(path))) for path in _inputs(made, plan)]
    return dict(zip(made.manifest.takedowns[-1].digests, [*states, *of_files], strict=True))


def _inputs(made: Made, plan: TakedownPlan) -> list[str]:
    """The touched files of a folder that may have been an input by themselves."""
    return [path for path in plan.digests if path.startswith(f"{made.name}/")]


def _left_out(made: Made, changed: Manifest, plan: TakedownPlan, now: Sequence[Made]) -> dict[str, int]:
    """The counts of pairs that a stage left out and that have gone from where it read them, too."""
    counts = made.manifest.counts
    if isinstance(counts, ScoreCounts) and counts.opted_out is not None:
        source = next((source for source in now if source.manifest.digest == changed.inputs["shards"]), None)
        success = source.manifest.counted(DownloadCounts).success if source else None
        return {"opted_out": success - changed.counted(ScoreCounts).pairs} if success is not None else {}
    if not isinstance(counts, ReshardCounts) or not (counts.opted_out or counts.missing):
        return {}
    digests = [subset.digest for subset in made.manifest.subsets]
    subset = next((path for path, digest in plan.digests.items() if digest in digests), None)
    if subset is None:
        return {}
    folder, _, file = subset.rpartition("/")
    gone = plan.touched[folder][file] - sum(plan.touched.get(made.name, {}).values())
    return {"opted_out": counts.opted_out - gone} if counts.opted_out else {"missing": (counts.missing or 0) - gone}
