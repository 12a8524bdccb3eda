"""The checks of a whole run, in the order in which data flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from clipsieve.pipelines.pack.job import ROWS_NAME
from clipsieve.pipelines.verify.checks import Check, expect, finished_manifest
from clipsieve.pipelines.verify.dedup import check_dedup
from clipsieve.pipelines.verify.drift import check_drift
from clipsieve.pipelines.verify.filters import check_filters
from clipsieve.pipelines.verify.index import check_index
from clipsieve.pipelines.verify.lineage import check_lineage
from clipsieve.pipelines.verify.opt_out import check_absence, check_opt_out
from clipsieve.pipelines.verify.pairs import check_pairs, check_pictures
from clipsieve.pipelines.verify.passes import check_passes
from clipsieve.pipelines.verify.resharded import check_resharded
from clipsieve.pipelines.verify.scores import check_scores
from clipsieve.pipelines.verify.selection import check_samples, check_selection, check_subsets
from clipsieve.pipelines.verify.shards import check_shards
from clipsieve.pipelines.verify.takedowns import check_takedowns
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.results import results_digest
from clipsieve.schemas.run import read_run
from clipsieve.schemas.stages import STAGES, Stage, output_names
from clipsieve.schemas.tokenizer import PIECES_NAME


def run(run_dir: str, opt_out: str | None = None) -> list[Check]:
    """Check every stage's folder under ``run_dir`` and return what holds; one that is not there is listed so.

    With the opt-out list in the file ``opt_out``, also that none of them holds a pair that it names; of a folder of
    shards, whoever wrote it, that alone.
    Raises ClipsieveError at the first discrepancy, and InputError where a file is missing or cannot be read;
    both name folder, file and row or uid.
    """
    if not files.exists(run_dir):
        raise InputError(f"{run_dir}: no such folder")
    if files.list_files(run_dir, ".tar"):
        if opt_out is None:
            raise InputError(f"{run_dir}: a folder of shards, not a run; name its run, or give --opt-out")
        return [check_absence(run_dir, load_opt_out(opt_out))]
    if not any(files.exists(files.join(run_dir, name)) for name in output_names()):
        raise InputError(f"{run_dir}: holds none of {', '.join(output_names())}")
    checks = [check for stage in STAGES.values() for check in _check_stage(stage, run_dir)]
    found = read_run(run_dir)
    return [*checks, check_lineage(found), check_takedowns(found), check_opt_out(found, load_opt_out(opt_out))]


def _check_stage(stage: Stage, run_dir: str) -> Iterator[Check]:
    """The checks of the folders of a stage, or the word that there are none."""
    folder = stage.folder(run_dir)
    folders = files.list_folders(folder) if stage.outputs[0].is_parent else [folder] if files.exists(folder) else []
    mine = [each for each in folders if _writer_of(each, stage).name == stage.name]
    for each in mine:
        yield from CHECKS[stage.name](each, run_dir)
    if not folders and _writer_of(folder, stage).name == stage.name:
        names = ("shards", "pairs", "dead letters") if stage.name == "download" else (stage.outputs[0].name,)
        yield from map(_absent, names)


def _writer_of(folder: str, stage: Stage) -> Stage:
    """The stage that wrote a folder of ``stage``: two may fill one of a name. Without a manifest, the first of them."""
    made = read_manifest(folder)
    alike = [each for each in STAGES.values() if each.outputs[0].name == stage.outputs[0].name]
    return STAGES[made.stage] if made is not None else alike[0]


def _check_download(folder: str, run_dir: str) -> Iterator[Check]:
    tables = files.list_files(files.join(run_dir, "pairs"), ".parquet")
    yield check_shards(folder)
    yield check_pairs(tables[0], folder) if len(tables) == 1 else _absent("pairs")
    yield check_passes(folder)


def _check_pack(folder: str, _: str) -> Iterator[Check]:
    rows = files.join(folder, "_pairs", ROWS_NAME)
    yield check_shards(folder)
    yield check_pictures(rows, folder) if files.exists(rows) else _absent("pictures")
    yield check_passes(folder)


def _check_index(folder: str, _: str) -> Iterator[Check]:
    yield check_index(folder)


def _check_score(folder: str, run_dir: str) -> Iterator[Check]:
    yield check_scores(folder, STAGES["download"].folder(run_dir))


def _check_drift(folder: str, run_dir: str) -> Iterator[Check]:
    yield check_drift(folder, STAGES["score"].folder(run_dir))


def _check_filter(folder: str, run_dir: str) -> Iterator[Check]:
    yield check_filters(folder, STAGES["score"].folder(run_dir))


def _check_dedup(folder: str, run_dir: str) -> Iterator[Check]:
    yield check_dedup(folder, STAGES["score"].folder(run_dir))


def _check_select(folder: str, run_dir: str) -> Iterator[Check]:
    subsets, samples = files.join(run_dir, "subsets"), files.join(run_dir, "samples")
    check, ranked = check_selection(folder, STAGES["score"].folder(run_dir))
    yield check
    yield check_subsets(subsets, ranked) if files.exists(subsets) else _absent("subsets")
    yield check_samples(samples, ranked) if files.exists(samples) else _absent("samples")


def _check_reshard(folder: str, run_dir: str) -> Iterator[Check]:
    yield check_resharded(folder, run_dir)


def _check_tokenizer(folder: str, _: str) -> Iterator[Check]:
    pieces = files.join(folder, PIECES_NAME)
    same = files.sha256_file(pieces) == finished_manifest(folder).digest
    expect(same, f"{pieces}: not the SentencePiece model its manifest says")
    yield Check("tokenizer", "its SentencePiece model is the one that its manifest describes")


def _check_train(folder: str, _: str) -> Iterator[Check]:
    weights = files.join(folder, WEIGHTS_NAME)
    same = files.sha256_file(weights) == finished_manifest(folder).digest
    expect(same, f"{weights}: not the weights its manifest says")
    yield Check(f"models/{files.name_of(folder)}", "its weights are those that its manifest describes")


def _check_evaluate(folder: str, _: str) -> Iterator[Check]:
    same = results_digest(folder) == finished_manifest(folder).digest
    expect(same, f"{folder}: its results.jsonl or samples are not those that its manifest describes")
    yield Check(f"evaluations/{files.name_of(folder)}", "its results are those that its manifest describes")


CHECKS: Mapping[str, Callable[[str, str], Iterator[Check]]] = {
    "download": _check_download,
    "index": _check_index,
    "pack": _check_pack,
    "score": _check_score,
    "drift": _check_drift,
    "filter": _check_filter,
    "dedup": _check_dedup,
    "select": _check_select,
    "reshard": _check_reshard,
    "tokenizer": _check_tokenizer,
    "train": _check_train,
    "evaluate": _check_evaluate,
}
"""What checks a (first) folder of each stage, in the run's folder."""


def _absent(name: str) -> Check:
    return Check(name, "not there, not checked")
