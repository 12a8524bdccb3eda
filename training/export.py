"""What a run leaves behind: a model folder that open_clip loads, its ledger and card, and a closed manifest."""

from __future__ import annotations

import torch

from clipsieve.schemas import files
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.ledger import Ledger, write_ledger
from clipsieve.schemas.manifest import Manifest, finish, present_manifest
from clipsieve.schemas.models import WEIGHTS_NAME, save_model
from clipsieve.schemas.opt_out import INPUT_NAME
from clipsieve.training.card import write_card
from clipsieve.training.checkpoint import drop_checkpoints, gathered
from clipsieve.training.cost.devices import device_name
from clipsieve.training.cost.ledger import Cost
from clipsieve.training.data.side import SideTables
from clipsieve.training.job import Job
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.towers.tower import build_model


def export_model(job: Job, strategy: Strategy, cost: Cost, seconds: float, side: SideTables) -> Manifest:
    """Write the model folder and close it; the checkpoints go last, so that a stop before that costs no step."""
    runtime, seen, manifest = job.runtime, job.steps * job.options.batch_size, present_manifest(job.out)
    weights = gathered(strategy.model.state_dict(), runtime.is_first)
    if runtime.is_first:
        counts = TrainCounts(
            pairs=len(job.plan),
            missing=sum(job.plan.missing) if job.options.allow_missing else None,
            opted_out=job.plan.opted_out if INPUT_NAME in manifest.inputs else None,
            without_text=side.without_text,
            without_teacher=side.without_teacher,
            samples_seen=seen,
            unique_samples=job.order.unique(seen),
            steps=job.steps,
            parameters=cost.parameters,
            image_macs=cost.image_macs,
            text_macs=cost.text_macs,
        )
        with torch.device("meta"):
            model = build_model(job.tower)
        model.load_state_dict(weights, assign=True)
        save_model(job.out, model, job.tower.model_cfg, job.tower.preprocess_cfg)
        ledger = _ledger(job, cost, counts, seconds)
        write_ledger(ledger, job.out)
        digest = files.sha256_file(files.join(job.out, WEIGHTS_NAME))
        write_card(job.out, manifest.model_copy(update={"counts": counts, "digest": digest}), job.tower, ledger)
        finish(job.out, manifest, counts, digest)
        drop_checkpoints(job.out)
    runtime.barrier()
    return present_manifest(job.out)


def _ledger(job: Job, cost: Cost, counts: TrainCounts, seconds: float) -> Ledger:
    runtime, seen = job.runtime, counts.samples_seen
    return Ledger(
        parameters=cost.parameters,
        image_macs=cost.image_macs,
        text_macs=cost.text_macs,
        training_macs=cost.training_macs,
        samples_seen=seen,
        unique_samples=counts.unique_samples,
        training_flops=cost.training_flops * seen,
        device=device_name(runtime.device),
        devices=runtime.world_size,
        device_hours=seconds * runtime.world_size / 3600,
    )
