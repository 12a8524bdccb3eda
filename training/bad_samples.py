"""The samples of a run that could not be read: listed in a file; too many of them end the run.

The loader puts another sample in the place of each. Here the processes of a run tell each other what they met, in the
step in which it is, so that all of them go on or all of them end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.errors import BudgetError, ClipsieveError, InputError
from clipsieve.schemas.shards import table_of
from clipsieve.schemas.tables import SHARDS, read_table
from clipsieve.schemas.training_data import BAD_SAMPLES_NAME
from clipsieve.training.data.loader import BadSample
from clipsieve.training.job import Job

ALWAYS_ALLOWED = 64
"""Unreadable samples that end no run: some pictures, or the end of a tar, of a small study."""


class BadSamples:
    """The list of a run; every process holds the same, the first one writes it."""

    def __init__(self, job: Job, shards: str, done: int) -> None:
        """Take up the list of the ``done`` steps; what was met in later steps will be met again."""
        self._job, self._shards = job, shards
        self._path = files.join(job.out, BAD_SAMPLES_NAME)
        written = files.read_bytes(self._path).decode() if files.exists(self._path) else ""
        rows = [json.loads(line) for line in written.splitlines()]
        self._rows = {(row["shard"], row["offset"]): row for row in rows if row["step"] <= done}
        self._is_written = True

    def __len__(self) -> int:
        """How many different samples could not be read."""
        return len(self._rows)

    def admit(self, found: Sequence[BadSample], step: int) -> ClipsieveError | None:
        """Take in what this process met in its share of a step, from 1; every process calls it before it takes the
        step. Returns the error that ends the run: nothing took a sample's place, or there are more than may be."""
        rows = [self._row(sample, step) for sample in found]
        gathered = self._job.runtime.gather(strict_json.dumps(rows).encode() if rows else b"")
        met = [row for part in gathered if part for row in json.loads(part)]
        lost = [row for row in met if row.pop("is_last")]
        for row in met:
            self._is_written &= self._rows.setdefault((row["shard"], row["offset"]), row) is not row
        return self._refusal(step, lost)

    def write(self) -> None:
        """Write the list, if it has grown."""
        if not self._is_written and self._job.runtime.is_first:
            lines = "".join(f"{strict_json.dumps(row)}\n" for row in self._rows.values())
            files.write_bytes(self._path, lines.encode())
            self._is_written = True

    def _refusal(self, step: int, lost: Sequence[dict[str, Any]]) -> ClipsieveError | None:
        if not lost and len(self) <= self._budget(step):
            return None
        self.write()
        again = f"restore the shards and run the same command again: training resumes after step {step - 1}"
        if lost:
            return BudgetError(
                f"{self._path}: neither a sample nor any drawn instead can be read: {lost[0]['reason']}; {again}"
            )
        share = self._job.options.bad_samples
        return BudgetError(
            f"{self._path}: {len(self):,} samples cannot be read, more than `bad_samples` {share:g} allows by step "
            f"{step}; raise it, or {again}"
        )

    def _budget(self, step: int) -> float:
        job = self._job
        seen = min(step * job.options.batch_size, len(job.plan))
        return max(ALWAYS_ALLOWED, job.options.bad_samples * seen)

    def _row(self, sample: BadSample, step: int) -> dict[str, Any]:
        uid, key = _identity(table_of(self._shards, sample.tar), sample.offset)
        row = {"step": step, "uid": uid, "shard": files.name_of(sample.tar), "key": key, **asdict(sample)}
        del row["tar"]
        return row


def _identity(path: str, offset: int) -> tuple[str | None, str | None]:
    """Uid and key of the sample at ``offset`` of a shard, from the shard's table at ``path``; None: not known."""
    table = _table(path)
    row = pc.index(table["tar_offset"], offset).as_py() if table is not None else -1
    return (None, None) if table is None or row < 0 else (table["uid"][row].as_py(), table["key"][row].as_py())


@lru_cache(2)
def _table(path: str) -> pa.Table | None:
    try:
        return read_table(path, SHARDS, ("uid", "key", "tar_offset"))
    except (InputError, OSError):  # lost with its tar
        return None
