"""The checks of a whole run, in the order in which data flows."""

from __future__ import annotations

from collections.abc import Iterator

from clipsieve.pipelines.verify.checks import Check, expect, finished_manifest
from clipsieve.pipelines.verify.dedup import check_dedup
from clipsieve.pipelines.verify.filters import check_filters
from clipsieve.pipelines.verify.opt_out import check_opt_out
from clipsieve.pipelines.verify.pairs import check_pairs
from clipsieve.pipelines.verify.passes import check_passes
from clipsieve.pipelines.verify.resharded import check_resharded
from clipsieve.pipelines.verify.scores import check_scores
from clipsieve.pipelines.verify.selection import check_samples, check_selection, check_subsets
from clipsieve.pipelines.verify.shards import check_shards
from clipsieve.pipelines.verify.takedowns import check_takedowns
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import STAGE_FOLDERS, STAGE_PARENTS, Manifest, known_digests
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.results import results_digest

_MADE_FROM = (
    ("scores", "shards", ["shards"]),
    ("filters", "scores", ["scores"]),
    ("dedup", "shards", ["shards"]),
    ("dedup", "scores", ["scores"]),
    ("selection", "scores", ["scores"]),
    ("subsets", "scores", ["scores"]),
    ("samples", "scores", ["scores"]),
    ("resharded", "shards", ["shards"]),
    ("models", "shards", ["shards", "resharded"]),
)
"""A folder, one of its manifest's inputs, and the folders from which that comes."""


def run(run_dir: str, opt_out: str | None = None) -> list[Check]:
    """Check every stage's folder under ``run_dir`` and return what holds; one that is not there is listed so.

    With the opt-out list in the file ``opt_out``, also that none of them holds a pair that it names.
    Raises ClipsieveError at the first discrepancy, and InputError where a file is missing or cannot be read;
    both name folder, file and row or uid.
    """
    if not files.exists(run_dir):
        raise InputError(f"{run_dir}: no such folder")
    checks = [*_check_data(run_dir), *_check_models(run_dir), *_check_evaluations(run_dir), *_check_lineage(run_dir)]
    checks += [check_takedowns(run_dir), check_opt_out(run_dir, load_opt_out(opt_out))]
    if not any(files.exists(files.join(run_dir, name)) for name in (*STAGE_FOLDERS, *STAGE_PARENTS)):
        raise InputError(f"{run_dir}: holds none of {', '.join((*STAGE_FOLDERS, *STAGE_PARENTS))}")
    return checks


def _check_data(run_dir: str) -> Iterator[Check]:
    names = ("shards", "scores", "filters", "dedup", "selection", "subsets", "samples")
    shards, scores, filters, dedup, selection, subsets, samples = (files.join(run_dir, name) for name in names)
    tables = files.list_files(files.join(run_dir, "pairs"), ".parquet") if files.exists(shards) else []
    yield check_shards(shards) if files.exists(shards) else _absent("shards")
    yield check_pairs(tables[0], shards) if len(tables) == 1 else _absent("pairs")
    yield check_passes(shards) if files.exists(shards) else _absent("dead letters")
    yield check_scores(scores, shards) if files.exists(scores) else _absent("scores")
    yield check_filters(filters, scores) if files.exists(filters) else _absent("filters")
    yield check_dedup(dedup, scores) if files.exists(dedup) else _absent("dedup")
    if files.exists(selection):
        check, ranked = check_selection(selection, scores)
        yield check
        yield check_subsets(subsets, ranked) if files.exists(subsets) else _absent("subsets")
        yield check_samples(samples, ranked) if files.exists(samples) else _absent("samples")
    else:
        yield _absent("selection")
    folders = files.list_folders(files.join(run_dir, "resharded"))
    yield from (check_resharded(folder, run_dir) for folder in folders)
    if not folders:
        yield _absent("resharded")


def _check_models(run_dir: str) -> Iterator[Check]:
    folders = files.list_folders(files.join(run_dir, "models"))
    for folder in folders:
        weights = files.join(folder, WEIGHTS_NAME)
        expect(
            files.sha256_file(weights) == finished_manifest(folder).digest,
            f"{weights}: not the weights its manifest says",
        )
        yield Check(f"models/{files.name_of(folder)}", "its weights are those that its manifest describes")
    if not folders:
        yield _absent("models")


def _check_evaluations(run_dir: str) -> Iterator[Check]:
    folders = files.list_folders(files.join(run_dir, "evaluations"))
    for folder in folders:
        same = results_digest(folder) == finished_manifest(folder).digest
        expect(same, f"{folder}: its results.jsonl or samples are not those that its manifest describes")
        yield Check(f"evaluations/{files.name_of(folder)}", "its results are those that its manifest describes")
    if not folders:
        yield _absent("evaluations")


def _check_lineage(run_dir: str) -> Iterator[Check]:
    """Each stage's recorded inputs are what its source folders hold now, or held before files were added to them or
    pairs removed.

    A source that is not there is passed.
    """
    links = 0
    for stage, key, sources in _MADE_FROM:
        made = [source for name in sources for _, source in _manifests(run_dir, name)]
        known = {digest for source in made for digest in known_digests(source)}
        for name, found in _manifests(run_dir, stage) if known else ():
            expect(
                found.inputs[key] in known,
                f"{run_dir}/{name}: was made from other {key} than those in {' or '.join(sources)} now",
            )
            links += 1
    links += sum(_is_of_subset(run_dir, *made) for made in _manifests(run_dir, "resharded"))
    links += sum(_is_of_subset(run_dir, *made) for made in _manifests(run_dir, "models"))
    links += sum(_is_of_model(run_dir, *made) for made in _manifests(run_dir, "evaluations"))
    yield Check("manifests", f"{links} recorded inputs are what their folders hold")


def _is_of_subset(run_dir: str, name: str, found: Manifest) -> bool:
    """Whether a folder was made from a subset of this run; one made from an older subset is refused."""
    subset = found.recipe.get("subset") or files.name_of(name)
    paths = [
        files.join(run_dir, folder, f"{subset}{suffix}")
        for folder in ("subsets", "samples")
        for suffix in (".npy", ".parquet")
    ]
    known = {files.sha256_file(path) for path in paths if files.exists(path)}
    if "subset" not in found.inputs or not known:
        return False
    for folder in ("subsets", "samples"):
        known |= {digest for _, made in _manifests(run_dir, folder) for digest in known_digests(made)}
    expect(found.inputs["subset"] in known, f"{run_dir}/{name}: was made from another {subset} than there is now")
    return True


def _is_of_model(run_dir: str, name: str, found: Manifest) -> bool:
    """Whether an evaluation is of the run's model of its name; one of older weights is refused."""
    model = files.join(run_dir, "models", files.name_of(name))
    if not files.exists(model):
        return False
    same = found.inputs["model"] == finished_manifest(model).digest
    expect(same, f"{run_dir}/{name}: was made from another {files.name_of(name)} than there is in models now")
    return True


def _manifests(run_dir: str, stage: str) -> Iterator[tuple[str, Manifest]]:
    folder = files.join(run_dir, stage)
    if stage in STAGE_FOLDERS and files.exists(folder):
        yield stage, finished_manifest(folder)
    elif stage in STAGE_PARENTS:
        for path in files.list_folders(folder):
            yield f"{stage}/{files.name_of(path)}", finished_manifest(path)


def _absent(name: str) -> Check:
    return Check(name, "not there, not checked")
