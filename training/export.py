"""What a run leaves behind: a model folder that open_clip loads, its ledger and card, and a closed manifest.

`export` makes one of a checkpoint, also while its run goes on.
"""

from __future__ import annotations

import io

import safetensors.torch
import torch
from safetensors import SafetensorError

from clipsieve.schemas import files
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.ledger import Ledger, write_ledger
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, begin, finish, present_manifest, read_manifest
from clipsieve.schemas.models import WEIGHTS_NAME, save_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.account import counts_of, ledger_of
from clipsieve.training.card import write_card
from clipsieve.training.checkpoint import (
    CheckpointHeader,
    checkpoint_path,
    checkpoint_paths,
    damaged,
    drop_checkpoints,
    gathered,
    header_in,
    steps_of,
)
from clipsieve.training.cost.ledger import Cost
from clipsieve.training.data.side import SideTables
from clipsieve.training.job import Job
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.strategies.registry import fit_tower
from clipsieve.training.towers.tower import Tower, build_model, load_tower

_MODEL = "model/model."
"""What a checkpoint's names of the model's weights begin with: the model of the strategy that is the state's model."""


def export_model(
    job: Job, strategy: Strategy, cost: Cost, seconds: float, bad_samples: int, side: SideTables
) -> Manifest:
    """Write the model folder and close it; the checkpoints go last, so that a stop before that costs no step."""
    weights = gathered(strategy.model.state_dict(), job.runtime.is_first)
    if job.runtime.is_first:
        counts = counts_of(job, cost, job.steps, bad_samples, side)
        ledger = ledger_of(job, cost, counts, seconds)
        _write_model(job.out, present_manifest(job.out), job.tower, weights, counts, ledger)
        drop_checkpoints(job.out)
    job.runtime.barrier()
    return present_manifest(job.out)


def export_checkpoint(run: str, out: str, step: int | None = None) -> Manifest:
    """Make a model folder ``out`` of a checkpoint, the last one or that of a ``step``, of the run in the folder
    ``run``, which may go on meanwhile.

    Raises InputError for a folder without such a checkpoint, for a damaged one, where the tower's file or tokenizer
    is no longer what it was, and for a folder ``out`` of another model.
    """
    manifest = read_manifest(run)
    if manifest is None:
        raise InputError(f"{run}: not a folder of `train`; give the one that its --out named")
    options = manifest.options(TrainOptions)
    if manifest.complete:
        raise InputError(f"{run}: its training is done, and it is a model folder itself")
    tower = fit_tower(load_tower(options.tower), options)
    if tower.digest != manifest.inputs["tower"]:
        raise InputError(f"`tower` {options.tower}: not the one that {run} is trained with, or with another tokenizer")
    if files.absolute(out) == files.absolute(run) or checkpoint_paths(out):
        raise InputError(f"{out}: holds a run that is not done; choose another --out")
    header, weights = _read_checkpoint(run, step)
    with only_writer(out):
        opened = begin(out, options, manifest.inputs, subsets=manifest.subsets)
        if opened.complete and opened.counts != header.counts:
            raise InputError(f"{out}: holds another model; choose another --out, or remove the folder")
        if not opened.complete:
            _write_model(out, opened, tower, weights, header.counts, header.ledger)
    return present_manifest(out)


def refuse_checkpoints_model(out: str, manifest: Manifest) -> None:
    """Raise InputError where the complete folder ``out`` holds no trained model, but one of a checkpoint."""
    counts = manifest.counted(TrainCounts)
    if counts.of_steps:
        step = f"{counts.steps:,} of {counts.of_steps:,}"
        raise InputError(f"{out}: holds the model of a checkpoint, of step {step}; choose another --out")


def _read_checkpoint(run: str, step: int | None) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Header and weights of the model, of the last checkpoint or that of a ``step``."""
    path, data = _bytes_of(run, step)
    header = header_in(io.BytesIO(data), path)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise damaged(path, error) from error
    return header, {name.removeprefix(_MODEL): each for name, each in tensors.items() if name.startswith(_MODEL)}


def _bytes_of(run: str, step: int | None) -> tuple[str, bytes]:
    """The path of the checkpoint and what is in it. The run may remove it before it is read: there is a later one."""
    there = checkpoint_paths(run)
    while True:
        path = checkpoint_path(run, step) if step is not None else (there or [""])[-1]
        if path not in there:
            has = f"it has those of {', '.join(str(steps_of(each)) for each in there)}" if there else "it has none"
            raise InputError(f"{run}: no checkpoint{'' if step is None else f' of step {step}'} there; {has}")
        try:
            return path, files.read_bytes(path)
        except (InputError, FileNotFoundError):
            before, there = there, checkpoint_paths(run)
            if path in there or there == before:
                raise


def _write_model(
    out: str,
    manifest: Manifest,
    tower: Tower,
    weights: dict[str, torch.Tensor],
    counts: TrainCounts,
    ledger: Ledger,
) -> None:
    """Write the model folder whose ``manifest`` is open, and close it."""
    with torch.device("meta"):
        model = build_model(tower)
    model.load_state_dict(weights, assign=True)
    save_model(out, model, tower.model_cfg, tower.preprocess_cfg)
    write_ledger(ledger, out)
    digest = files.sha256_file(files.join(out, WEIGHTS_NAME))
    write_card(out, manifest.model_copy(update={"counts": counts, "digest": digest}), tower, ledger)
    finish(out, manifest, counts, digest)
