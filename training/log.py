"""What a run says of itself: one plain line and one row of log.jsonl every few steps."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from schemas import files
from schemas.errors import ClipsieveError
from training.runtime import Runtime

T = TypeVar("T")


@dataclass(frozen=True)
class StepValues:
    """What one step measured; the tensors are float32[] and stay on the device until a line is due."""

    loss: torch.Tensor
    """Mean over this process's share of the batch."""
    grad_norm: torch.Tensor
    """Before clipping."""
    logit_scale: torch.Tensor
    learning_rate: float


class TrainLog:
    """Collects the steps' values; every process reports, the first one prints and writes."""

    def __init__(self, out: str, runtime: Runtime, steps: int, batch_size: int, done: int) -> None:
        """Take up the log of the first ``done`` of ``steps`` steps; rows behind them will be made again."""
        self._path, self._runtime = files.join(out, "log.jsonl"), runtime
        self._steps, self._batch_size = steps, batch_size
        self._done = self._reported = done
        self._rows = [row for row in self._read() if row["step"] <= done]
        self._losses: list[torch.Tensor] = []
        self._waited, self._since = 0.0, time.perf_counter()

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
        self._losses.append(values.loss)
        self._values = values

    def check(self) -> None:
        """Raise ClipsieveError, in every process, when a loss since the last check is not finite."""
        losses = self._runtime.mean(torch.stack(self._losses))
        finite = torch.isfinite(losses)
        if not finite.all():
            first = int((~finite).nonzero()[0])
            step = self._done - len(losses) + 1 + first
            raise ClipsieveError(
                f"{self._path}: the loss is {losses[first].item()} at step {step}; lower learning_rate, "
                "lengthen warmup_steps or train in fp32, in another folder"
            )
        self._loss = losses[-1].item()
        self._losses = []

    def report(self) -> None:
        """Print and keep a row on the last step, which was checked."""
        seconds = time.perf_counter() - self._since
        row = {
            "step": self._done,
            "samples_seen": self._done * self._batch_size,
            "loss": self._loss,
            "learning_rate": self._values.learning_rate,
            "logit_scale": self._values.logit_scale.item(),
            "grad_norm": self._values.grad_norm.item(),
            "samples_per_second": (self._done - self._reported) * self._batch_size / seconds,
            "data_wait_share": self._waited / seconds,
        }
        self._rows.append(row)
        self._reported, self._waited, self._since = self._done, 0.0, time.perf_counter()
        if self._runtime.is_first:
            self._print(row)

    def write(self) -> None:
        """Write the rows so far to log.jsonl."""
        lines = "".join(json.dumps(row) + "\n" for row in self._rows)
        files.write_bytes(self._path, lines.encode())

    def _print(self, row: dict[str, Any]) -> None:
        left = (self._steps - self._done) * self._batch_size / row["samples_per_second"]
        print(
            f"step {self._done}/{self._steps}  loss {row['loss']:.4f}  lr {row['learning_rate']:.2e}  "
            f"{row['samples_per_second']:.0f} samples/s  wait {row['data_wait_share']:.0%}  "
            f"left {datetime.timedelta(seconds=round(left))}",
            file=sys.stderr,
            flush=True,
        )

    def _read(self) -> list[dict[str, Any]]:
        if not files.exists(self._path):
            return []
        return [json.loads(line) for line in files.read_bytes(self._path).splitlines()]
