"""Remove what a list names from a run, rewriting only the files that hold it.

    plan -> manifests say "takedown" -> files, each whole or as it was -> manifests, with what was done -> no plan

Whatever is stopped in between goes on when the same list is taken down again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from clipsieve.pipelines.download.passes import retry_path, shards_by_pass
from clipsieve.pipelines.engine.progress import Reading, progress
from clipsieve.pipelines.pairs.table import open_pairs
from clipsieve.pipelines.reshard.job import MISSING
from clipsieve.pipelines.run_folders import MODEL_STAGES, run_folders
from clipsieve.pipelines.takedown import plan as planning
from clipsieve.pipelines.takedown.close import Contents, contents_of
from clipsieve.pipelines.takedown.plan import Plan
from clipsieve.pipelines.takedown.rows import blank_file, take_from_file
from clipsieve.pipelines.takedown.shards import take_from_resharded, take_from_shard
from clipsieve.schemas import files, manifest
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, Takedown
from clipsieve.schemas.opt_out import OPTED_OUT, OptOut, load_opt_out
from clipsieve.schemas.threads import map_ahead


def run(run_dir: str, opt_out: str, dry_run: bool = False) -> Plan:
    """Remove the pairs that the file ``opt_out`` lists from every folder of the run; returns what that was.

    In the shards their rows stay as a uid that failed with ``opted_out``; all else goes: images, captions, URLs,
    scores, embeddings, places in selections, subsets and samples. Models stay, and are named; a report of the run is
    removed, for it shows pictures. With ``dry_run`` nothing is changed. Raises InputError for a folder that its stage
    has not finished, and while a takedown of another list is half done.
    """
    listed = load_opt_out(opt_out)
    folders = run_folders(run_dir)
    if not folders:
        raise InputError(f"{run_dir}: no folder of a run (none in it has a manifest)")
    written = [files.join(run_dir, name) for name, made in folders.items() if made.stage not in MODEL_STAGES]
    with only_writer(run_dir, *written):
        return _take_down(run_dir, listed, dry_run)


def _take_down(run_dir: str, listed: OptOut, dry_run: bool) -> Plan:
    folders, plan = run_folders(run_dir), planning.read_plan(run_dir)
    if plan is not None and plan.opt_out != listed.digest:
        raise InputError(f"{run_dir}: a takedown of another list is half done there; run that to its end first")
    if plan is None:
        for name, made in folders.items():
            if made.stage not in MODEL_STAGES and not made.complete:
                raise InputError(f"{files.join(run_dir, name)}: {made.unfinished}")
        uids = planning.named_uids(run_dir, folders, listed)
        plan = planning.make_plan(run_dir, folders, uids, listed)
        if dry_run or not plan.touched:
            return plan
        planning.write_plan(run_dir, plan, uids)
    if not dry_run:
        _carry_out(run_dir, folders, plan)
    return plan


def _carry_out(run_dir: str, folders: Mapping[str, Manifest], plan: Plan) -> None:
    uids = planning.read_uids(run_dir)
    pending = {name: folders[name] for name in plan.touched if not _is_closed(folders[name], plan)}
    for name, made in pending.items():
        manifest.begin_takedown(files.join(run_dir, name), made)
    work = [(name, unit) for name in pending for unit in plan.touched[name]]
    done: list[tuple[str, str]] = []
    with (
        files.without_leftovers(*(files.join(run_dir, name) for name in pending)),
        progress("takedown (files)", len(work), lambda: Reading(len(done))),
    ):
        takers = {name: _taker(files.join(run_dir, name), made, uids) for name, made in pending.items()}
        for each, _ in zip(work, map_ahead(lambda unit: takers[unit[0]](unit[1]), work), strict=True):
            done.append(each)
    _close(run_dir, plan)
    files.remove(files.join(run_dir, "report"))
    if files.exists(files.join(run_dir, "manifest.json")):
        manifest.gather(run_dir)
    planning.drop_plan(run_dir)


def _taker(folder: str, made: Manifest, uids: np.ndarray) -> Callable[[str], None]:
    """The function that takes the pairs out of one of the folder's units."""
    if made.stage == "download":
        _take_from_inputs(folder, made, uids)
        last_pass = set(shards_by_pass(folder, made)[-1])
        return lambda name: take_from_shard(folder, name, uids, name in last_pass)
    if made.stage == "reshard":
        return lambda name: take_from_resharded(folder, name, uids)
    return lambda name: take_from_file(files.join(folder, name), uids)


def _take_from_inputs(folder: str, made: Manifest, uids: np.ndarray) -> None:
    """The tables from which `download` worked within its own folder: those of later passes, and the copy of a text."""
    for number in range(1, len(made.earlier) + 1):
        path = retry_path(folder, number)
        blank_file(path, open_pairs([path]).columns.uid or "uid", uids)
    files.remove(files.join(folder, "_pairs"))


def _close(run_dir: str, plan: Plan) -> None:
    """Write what each folder holds now into its manifest, and into those after it the digests that it has now."""
    now: dict[str, Manifest] = {}
    replaced: dict[str, str] = {}
    for name, made in run_folders(run_dir).items():
        if made.stage in MODEL_STAGES:
            continue
        inputs = {key: replaced.get(digest, digest) for key, digest in made.inputs.items()}
        changed, record = made.model_copy(update={"inputs": inputs}), None
        if name in plan.touched and not _is_closed(made, plan):
            changed = _with_contents(changed, contents_of(run_dir, name, made, plan))
            record = _record(name, made, plan)
        changed = changed.model_copy(update={"counts": changed.counts | _left_out(name, made, changed, plan, now)})
        if record or changed != made:
            changed = manifest.finish_takedown(files.join(run_dir, name), changed, record)
        now[name] = changed
        if name in plan.touched:
            replaced |= _replaced(run_dir, name, changed, plan)


def _is_closed(made: Manifest, plan: Plan) -> bool:
    """Whether this takedown has ended in a folder."""
    return bool(made.complete and made.takedowns and made.takedowns[-1].begun_at == plan.begun_at)


def _with_contents(made: Manifest, contents: Contents) -> Manifest:
    earlier = [
        state.model_copy(update={"digest": digest})
        for state, digest in zip(made.earlier, contents.earlier, strict=True)
    ]
    return made.model_copy(update={"counts": contents.counts, "digest": contents.digest, "earlier": earlier})


def _record(name: str, made: Manifest, plan: Plan) -> Takedown:
    digests = [made, *made.earlier]
    return Takedown(
        opt_out=plan.opt_out,
        begun_at=plan.begun_at,
        finished_at=manifest.now(),
        pairs=plan.folder_pairs[name],
        counts=made.counts,
        digests=[*(str(state.digest) for state in digests), *(plan.digests[path] for path in _inputs(name, plan))],
    )


def _replaced(run_dir: str, name: str, made: Manifest, plan: Plan) -> dict[str, str]:
    """The digests by which a closed folder and its files were known before -> those that they have now."""
    states = [str(state.digest) for state in (made, *made.earlier)]
    now = [*states, *(files.sha256_file(files.join(run_dir, path)) for path in _inputs(name, plan))]
    return dict(zip(made.takedowns[-1].digests, now, strict=True))


def _inputs(name: str, plan: Plan) -> list[str]:
    """The touched files of a folder that may have been an input by themselves."""
    return [path for path in plan.digests if path.startswith(f"{name}/")]


def _left_out(name: str, made: Manifest, changed: Manifest, plan: Plan, now: Mapping[str, Manifest]) -> dict[str, int]:
    """The counts of pairs that a stage left out and that have gone from where it read them, too."""
    if made.stage == "score" and OPTED_OUT in made.counts:
        source = next((source for source in now.values() if source.digest == changed.inputs["shards"]), None)
        return {OPTED_OUT: source.counts["success"] - changed.counts["pairs"]} if source else {}
    key = next((key for key in (OPTED_OUT, MISSING) if made.stage == "reshard" and made.counts.get(key)), None)
    subset = next((path for path, digest in plan.digests.items() if digest == made.inputs.get("subset")), None)
    if key is None or subset is None:
        return {}
    folder, _, file = subset.rpartition("/")
    gone = plan.touched[folder][file] - sum(plan.touched.get(name, {}).values())
    return {key: made.counts[key] - gone}
