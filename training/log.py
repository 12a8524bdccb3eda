"""What a run says of itself every few steps: a plain line, a row of log.parquet, and what its boards show."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import torch

from clipsieve.schemas import files, tables
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME
from clipsieve.training.boards import Board
from clipsieve.training.checkpoint import Progress
from clipsieve.training.cost.devices import device_bytes, peak_flops, resident_bytes
from clipsieve.training.runtime import Runtime

_DECAY = 0.98
"""Of the loss's moving average."""

T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """What turns steps into samples and FLOPs."""

    steps: int
    batch_size: int
    epoch_samples: int
    training_flops: int
    """Of one pair."""


@dataclass(frozen=True)
class StepValues:
    """What one step measured; the tensors are float32[] and stay on the device until a line is due."""

    losses: Mapping[str, torch.Tensor]
    """``loss`` and its parts: means over this process's share of the batch."""
    grad_norm: torch.Tensor
    """Before clipping."""
    logit_scale: torch.Tensor
    learning_rate: float


class TrainLog:
    """Collects the steps' values; every process settles and reports, the first one prints and writes."""

    def __init__(
        self, out: str, runtime: Runtime, measure: Measure, progress: Progress, boards: Sequence[Board] = ()
    ) -> None:
        """Take up the log of the steps done; rows after them will be made again."""
        self._path = files.join(out, TRAIN_LOG_NAME)
        self._runtime = runtime
        self._measure = measure
        self._done = progress.steps
        self._reported = progress.steps
        self._average = progress.loss_average
        self._seconds_before = progress.seconds
        before = _read(self._path)
        self._table = before.filter(pc.less_equal(before["step"], progress.steps))
        self._rows: list[dict[str, Any]] = []
        """Those that the table lacks."""
        self._values: list[StepValues] = []
        """Of the steps that are not settled."""
        self._settled: dict[str, float] = {}
        """The last settled step's values, by column: the losses over the whole batch, and the others."""
        self._started = time.perf_counter()
        self._since = self._started
        self._waited = 0.0
        self._boards = boards

    @property
    def progress(self) -> Progress:
        """As of the last step that was settled."""
        seconds = self._seconds_before + time.perf_counter() - self._started
        return Progress(steps=self._done, loss_average=self._average, seconds=seconds)

    def introduce(self, tower: str, parameters: int, missing: int) -> None:
        """Print what is about to be trained, on what; ``missing`` members of its subsets are not there."""
        measure, runtime = self._measure, self._runtime
        if runtime.is_first:
            processes = f"{runtime.world_size} process{'es' if runtime.world_size > 1 else ''} on {runtime.device.type}"
            pairs = measure.epoch_samples
            lacking = f" ({pairs / (pairs + missing):.2%} of its subsets, {missing:,} are missing)" if missing else ""
            print(
                f"{tower} ({parameters:,} parameters) on {pairs:,} pairs{lacking}: steps {self._done + 1:,} to "
                f"{measure.steps:,} of {measure.batch_size:,} samples, {processes}",
                file=sys.stderr,
                flush=True,
            )

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time that the trainer waits for each is counted."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def add(self, values: StepValues) -> None:
        """Take in the next step."""
        self._done += 1
        self._values.append(values)

    def settle(self) -> int | None:
        """Take the steps since the last time into account: the first, of steps from 0, whose loss or gradient is not
        finite; None where all are."""
        values, self._values = self._values, []
        if not values:
            return None
        last = values[-1]
        losses = self._runtime.mean(torch.stack([value.losses["loss"] for value in values]))
        parts = self._runtime.mean(torch.stack([*last.losses.values()])).tolist()
        norms = torch.stack([value.grad_norm for value in values]).cpu()
        wrong = ~(torch.isfinite(losses) & torch.isfinite(norms))
        if wrong.any():
            return self._done - len(values) + int(wrong.nonzero()[0])
        for loss in losses.tolist():
            self._average = loss if self._average is None else _DECAY * self._average + (1 - _DECAY) * loss
        scale = last.logit_scale.item()
        self._settled = {
            **dict(zip(last.losses, parts, strict=True)),
            "learning_rate": last.learning_rate,
            "logit_scale": scale,
            "temperature": 1 / scale,
            "grad_norm": last.grad_norm.item(),
        }
        return None

    def report(self, bad_samples: int = 0, found: Mapping[str, float] | None = None) -> None:
        """Print and keep a row on the last step, which was settled, with what was ``found`` of its model.

        So many samples could not be read so far.
        """
        row = self._row(time.perf_counter() - self._since, bad_samples) | dict(found or {})
        self._rows.append(row)
        self._reported = self._done
        self._since = time.perf_counter()
        self._waited = 0.0
        if self._runtime.is_first:
            self._print(row, found or {})
        values = {name: value for name, value in row.items() if value is not None and name != "step"}
        for board in self._boards:
            board.show(self._done, values)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What the block does is no training: its time does not count."""
        begun = time.perf_counter()
        yield
        taken = time.perf_counter() - begun
        self._started += taken
        self._since += taken

    def writing(self) -> Callable[[], None]:
        """What writes the rows so far to log.parquet, called in whatever thread."""
        parts = {name for row in self._rows for name in row} - {*TRAIN_LOG.columns}
        rows = pa.Table.from_pylist(self._rows, schema=_with_parts(parts))
        self._table = pa.concat_tables([self._table, rows], promote_options="default")
        self._rows = []
        return partial(self._write, self._table)

    def close(self) -> None:
        """Close the boards."""
        for board in self._boards:
            board.close()

    def _write(self, table: pa.Table) -> None:
        parts = {*table.column_names} - {*TRAIN_LOG.columns}
        tables.write_table(table.select(_with_parts(parts).names), TRAIN_LOG, self._path)
        for board in self._boards:
            board.flush()

    def _row(self, seconds: float, bad_samples: int) -> dict[str, Any]:
        measure, device = self._measure, self._runtime.device
        samples = self._done * measure.batch_size
        rate = (self._done - self._reported) * measure.batch_size / seconds
        peak = peak_flops(device)
        return {
            "step": self._done,
            "samples_seen": samples,
            "epoch": samples / measure.epoch_samples,
            **self._settled,
            "samples_per_second": rate,
            "data_wait_share": self._waited / seconds,
            "resident_bytes": resident_bytes(),
            "device_bytes": device_bytes(device),
            "gflops": samples * measure.training_flops / 1e9,
            "mfu": rate * measure.training_flops / (peak * self._runtime.world_size) if peak else None,
            "bad_samples": bad_samples or None,
        }

    def _print(self, row: dict[str, Any], found: Mapping[str, float]) -> None:
        left = (self._measure.steps - self._done) * self._measure.batch_size / row["samples_per_second"]
        used = "" if row["mfu"] is None else f"MFU {row['mfu']:.0%}  "
        memory = row["device_bytes"] or row["resident_bytes"]
        bad = f"bad samples {row['bad_samples']:,}  " if row["bad_samples"] else ""
        seen = "".join(f"{name} {value:.4f}  " for name, value in found.items())
        print(
            f"step {self._done}/{self._measure.steps}  loss {row['loss']:.4f}  lr {row['learning_rate']:.2e}  "
            f"temperature {row['temperature']:.4f}  gradient norm {row['grad_norm']:.2f}  "
            f"{row['samples_per_second']:.0f} samples/s  wait for data {row['data_wait_share']:.0%}  {bad}{used}"
            f"memory {memory / 2**30:.1f} GiB  {row['gflops']:,.0f} GFLOP  "
            f"{seen}left {datetime.timedelta(seconds=round(left))}",
            file=sys.stderr,
            flush=True,
        )


def _read(path: str) -> pa.Table:
    """The rows that are there; none where there is no file."""
    return tables.read_table(path, TRAIN_LOG) if files.exists(path) else TRAIN_LOG.schema.empty_table()


def _with_parts(parts: Iterable[str]) -> pa.Schema:
    """The log's columns and, after them, the parts of a strategy's loss and what else was found of the model."""
    return pa.schema([*TRAIN_LOG.schema, *(pa.field(name, pa.float64()) for name in sorted(parts))])
