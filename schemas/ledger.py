"""`ledger.json` of a model folder: the compute that training took, for evaluation and studies to set next to accuracy.

The papers' tables say GFLOPs and count multiply-accumulates (MAC); both are here. FLOPs are twice the MACs; training
a pair is taken as three forward passes (one, and a backward of two), a locked image tower's share as one. Passes that
save memory (accumulation, checkpointed activations) are not counted: they make the same model.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from clipsieve.schemas import files

LEDGER_NAME = "ledger.json"


class Ledger(BaseModel):
    """What a training run cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: int
    image_macs: int
    """Of the image tower's forward pass over one pair, all its views, masked patches left out."""
    text_macs: int
    """Of the text tower's forward pass over one pair."""
    training_macs: int
    """Of one pair's share of a training step."""
    steps: int
    of_steps: int | None = None
    """Of a checkpoint's model, how many its run takes; None where it took them all."""
    samples_seen: int
    unique_samples: int | None
    """None of a checkpoint's model whose run mixes subsets or repeats pairs: it is counted at the end alone."""
    training_flops: int
    """Of the whole run: 2 x ``training_macs`` x ``samples_seen``."""
    device: str
    devices: int
    device_hours: float
    """Of all devices, stops and restarts left out; the only field in which two runs of one recipe differ."""


def write_ledger(ledger: Ledger, folder: str) -> None:
    files.write_bytes(files.join(folder, LEDGER_NAME), ledger.model_dump_json(indent=1).encode() + b"\n")
