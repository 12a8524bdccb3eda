"""What is measured of a model every so many steps of its run: its results on tasks, and the loss on held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from clipsieve.schemas.errors import one_line
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.terminal import say
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.checkpoint import gathered
from clipsieve.training.job import Job
from clipsieve.training.stopping import StopRequests
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.towers.tower import ClipModel, build_model
from clipsieve.training.validation import HeldOutPairs

Evaluate = Callable[[LoadedModel], Mapping[str, float]]
"""A model, on the device that it is to be evaluated on, to what is found of it, by name."""
VALIDATION_LOSS = "validation_loss"
_PATIENCE = timedelta(days=30)


class Inspection:
    """Measures a copy of the model in the first process, while the others wait for as long as it takes.

    Training goes on as if nothing had been: its own model, its random numbers and its statistics are not touched.
    """

    def __init__(self, job: Job, evaluate: Evaluate | None, held_out: HeldOutPairs | None) -> None:
        if job.options.evaluate_tasks and evaluate is None:
            raise ValueError("the options name tasks, and nothing is given that evaluates a model on them")
        self._job, self._evaluate, self._held_out = job, evaluate, held_out
        # What keeps time between steps would take the others' waiting for the first one's silence.
        self._waiting: dist.ProcessGroup | None = None
        if job.runtime.control is not None:
            self._waiting = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_PATIENCE))

    def is_due(self, step: int) -> bool:
        """Whether to look at the model of this step: every ``evaluate_steps``, and after the last."""
        return step == self._job.steps or step % (self._job.options.evaluate_steps or self._job.steps) == 0

    def look(self, strategy: Strategy, step: int, stop: StopRequests) -> dict[str, float]:
        """What is found of the model of a step, in the first process; every process calls it.

        Nothing where that fails, which is said and ends no run, or where a request to stop comes meanwhile.
        """
        weights = gathered(strategy.model.state_dict(), self._job.runtime.is_first)
        found: dict[str, float] = {}
        if self._job.runtime.is_first:
            try:
                with stop.ending_block():
                    found = self._measure(weights, f"{self._job.out} at step {step}")
            except Exception as error:  # whatever it is, as that the GPU has no room
                say(f"clipsieve: step {step} is not evaluated, and training goes on: {one_line(error)}", is_error=True)
        if self._waiting is not None:
            dist.barrier(self._waiting)
        return found

    def _measure(self, weights: dict[str, torch.Tensor], name: str) -> dict[str, float]:
        tower, device = self._job.tower, self._job.runtime.device
        found: dict[str, float] = {}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = build_model(tower)
            model.load_state_dict(weights)
            model.to(device).eval()
            if self._held_out is not None:
                found[VALIDATION_LOSS] = self._held_out.loss(model, tower, self._job.options, device)
            if self._evaluate is not None:
                found |= self._evaluate(_as_loaded(model, self._job, name))
        return found


def _as_loaded(model: ClipModel, job: Job, name: str) -> LoadedModel:
    """The model as one that was loaded from a folder; its digest says where it is from alone."""
    described = merge_preprocess_dict(PreprocessCfg(), job.tower.preprocess_cfg)
    preprocess = image_transform_v2(PreprocessCfg(**described), is_train=False)
    return LoadedModel(name, model, preprocess, tokenizer_for(job.tower.model_cfg["text_cfg"]), name)
