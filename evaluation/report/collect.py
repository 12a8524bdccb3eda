"""Reads a run folder into one frozen value, from which the page is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clipsieve.evaluation.report.clusters import Clusters, read_clusters
from clipsieve.evaluation.report.comparisons import SubsetComparison, compare
from clipsieve.evaluation.report.cuts import SubsetCut, read_cuts
from clipsieve.evaluation.report.failures import Failures, read_failures
from clipsieve.evaluation.report.funnel import Step, funnel
from clipsieve.evaluation.report.galleries import Card, make_cards
from clipsieve.evaluation.report.models import ModelRun, read_models
from clipsieve.evaluation.report.scored_pool import ScoredPool, read_pool
from clipsieve.schemas import files
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.run import read_run
from clipsieve.schemas.stages import STAGES
from clipsieve.schemas.waterfall import Waterfall, read_waterfall

_NEEDED = ("download", "score", "select")


@dataclass(frozen=True)
class ReportedRun:
    """All that the report says of a run. ``cards`` go by uid, ``stages`` by folder."""

    stages: Mapping[str, Manifest]
    cuts: tuple[SubsetCut, ...]
    pool: ScoredPool
    cards: Mapping[str, Card]
    models: tuple[ModelRun, ...]
    comparisons: tuple[SubsetComparison, ...]
    steps: tuple[Step, ...]
    failures: Failures | None
    filters: Waterfall | None
    dedup: Clusters | None

    @property
    def main_cut(self) -> SubsetCut | None:
        """The cut that the first model is trained on, else the middle one."""
        trained = {name for model in self.models for name in model.data.names}
        of_models = [cut for cut in self.cuts if cut.name in trained]
        if of_models:
            return of_models[0]
        return self.cuts[(len(self.cuts) - 1) // 2] if self.cuts else None


def _writers(stage: str) -> list[str]:
    """The commands that write the (first) folder of a stage."""
    name = STAGES[stage].outputs[0].name
    return [f"`clipsieve {each.name}`" for each in STAGES.values() if each.outputs[0].name == name]


def collect(run_dir: str) -> ReportedRun:
    """Read ``run_dir``; InputError where shards, scores or selection are missing or not finished."""
    run = read_run(run_dir)
    stages = run.manifests
    for command in _NEEDED:
        folder = STAGES[command].folder(run_dir)
        if not files.exists(folder):
            raise InputError(f"{folder}: no such folder; run {' or '.join(_writers(command))} first")
        found = stages.get(files.name_of(folder))
        if found and not found.complete:
            raise InputError(f"{folder}: {command} is not finished there; run it again to its end first")
    cuts = read_cuts(files.join(run_dir, "subsets"))
    pool = read_pool(run_dir, cuts)
    models = read_models(run)
    counts = stages["shards"].counts if "shards" in stages else None
    download = counts if isinstance(counts, DownloadCounts) else None
    is_deduplicated = "dedup" in stages and stages["dedup"].complete
    dedup = read_clusters(run_dir, stages["dedup"]) if is_deduplicated else None
    is_filtered = "filters" in stages and stages["filters"].complete
    return ReportedRun(
        stages=stages,
        cuts=cuts,
        pool=pool,
        cards=make_cards(run_dir, pool, dedup.pairs if dedup else ()),
        models=models,
        comparisons=compare(models),
        steps=tuple(funnel(download, pool, cuts, models)),
        failures=read_failures(files.join(run_dir, "shards"), download),
        filters=read_waterfall(files.join(run_dir, "filters")) if is_filtered else None,
        dedup=dedup,
    )
