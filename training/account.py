"""What the model of a step was trained on, and at what cost: of the last step, and of each checkpoint."""

from __future__ import annotations

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.ledger import Ledger
from clipsieve.schemas.opt_out import INPUT_NAME
from clipsieve.training.cost.devices import device_name
from clipsieve.training.cost.ledger import Cost
from clipsieve.training.data.side import SideTables
from clipsieve.training.data.weighted import WeightedEpochs
from clipsieve.training.job import Job


def counts_of(job: Job, cost: Cost, steps: int, bad_samples: int, side: SideTables) -> TrainCounts:
    """The counts of a run after so many steps, and bad samples; of a checkpoint those that take no time."""
    seen, order = steps * job.options.batch_size, job.order
    is_counted = steps == job.steps or (len(order.slots) == 1 and not isinstance(order.epochs[0], WeightedEpochs))
    return TrainCounts(
        pairs=len(job.plan),
        missing=sum(job.plan.missing) if job.options.allow_missing else None,
        opted_out=job.plan.opted_out if INPUT_NAME in job.origin.inputs else None,
        without_text=side.without_text,
        without_teacher=side.without_teacher,
        removed=job.plan.header.gone or None,
        samples_seen=seen,
        unique_samples=order.unique(seen) - bad_samples if is_counted else None,
        bad_samples=bad_samples or None,
        steps=steps,
        of_steps=job.steps if steps < job.steps else None,
        parameters=cost.parameters,
        image_macs=cost.image_macs,
        text_macs=cost.text_macs,
    )


def ledger_of(job: Job, cost: Cost, counts: TrainCounts, seconds: float) -> Ledger:
    """The ledger that goes with the counts; ``seconds`` is how long training took."""
    runtime, seen = job.runtime, counts.samples_seen
    return Ledger(
        parameters=cost.parameters,
        image_macs=cost.image_macs,
        text_macs=cost.text_macs,
        training_macs=cost.training_macs,
        steps=counts.steps,
        of_steps=counts.of_steps,
        samples_seen=seen,
        unique_samples=counts.unique_samples,
        training_flops=cost.training_flops * seen,
        device=device_name(runtime.device),
        devices=runtime.world_size,
        device_hours=seconds * runtime.world_size / 3600,
    )
