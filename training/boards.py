"""Where the log's values go besides its file: TensorBoard and Weights & Biases, each an extra of the package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError, one_line
from clipsieve.schemas.manifest import present_manifest
from clipsieve.schemas.options import TrainOptions


class Board(Protocol):
    """What shows the values of a run's steps."""

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values by name as of a step; those of a step that a stopped run took before come again."""

    def flush(self) -> None:
        """Have what was shown written."""

    def close(self) -> None:
        """Called once, after the last step or where the run fails."""


def open_boards(out: str, options: TrainOptions, done: int) -> list[Board]:
    """The boards that ``options`` name, of the run in the folder ``out`` that has ``done`` steps.

    Raises InputError, which names the extra, for one that is not installed.
    """
    boards: list[Board] = []
    if options.tensorboard:
        boards.append(_TensorBoard(out, done))
    if options.wandb is not None:
        boards.append(_WeightsAndBiases(out, options))
    return boards


class _TensorBoard:
    """Event files in OUT/tensorboard."""

    def __init__(self, out: str, done: int) -> None:
        module = _extra("torch.utils.tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(files.join(out, "tensorboard"), purge_step=done + 1)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of the project ``--wandb``, in OUT/wandb; a resumed run goes on in it. Its environment variables hold."""

    def __init__(self, out: str, options: TrainOptions) -> None:
        wandb = _extra("wandb", "wandb")
        try:
            self._run = wandb.init(
                project=options.wandb,
                name=files.name_of(out),
                id=files.sha256_text(files.absolute(out), present_manifest(out).started_at)[:16],
                resume="allow",
                dir=None if "://" in out else out,
                config=options.model_dump(mode="json"),
                settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
            )
        except wandb.Error as error:
            raise InputError(f"`wandb` {options.wandb}: {one_line(error)}; offline: WANDB_MODE=offline") from error
        self._run.define_metric("*", step_metric="step")  # its own steps only ever grow

    def show(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def flush(self) -> None:
        pass  # another process has them

    def close(self) -> None:
        self._run.finish()


def _extra(module: str, name: str) -> Any:
    """A module that the package's extra of this ``name`` brings, which is the option's too."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"`{name}`: not installed; pip install 'clipsieve[{name}]'") from error
