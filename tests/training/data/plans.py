"""Plans in memory, of samples that lie nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from clipsieve.training.data.plan_file import BOUNDS, ROW, ROWS, UID, UIDS, PlanHeader, PlanInputs, SamplePlan


def plan_of(lengths: Sequence[int], subsets: Iterable[Iterable[int]] = (), by_shard: bool = False) -> SamplePlan:
    """A plan of shards with so many samples each.

    Subsets are given by their members' indices; one that stands several times has that weight. A single subset must
    have all samples.
    """
    rows = np.zeros(sum(lengths), ROW)
    rows["shard"] = np.repeat(np.arange(len(lengths)), lengths)
    rows["blocks"] = 1
    columns = {ROWS: rows, UIDS: np.zeros(len(rows), UID)}
    if by_shard:
        columns[BOUNDS] = np.append(0, np.cumsum(lengths))
    chosen = [np.unique(np.array(list(subset)), return_counts=True) for subset in subsets]
    for number, (members, weights) in enumerate(chosen):
        if len(chosen) > 1:
            columns[f"members-{number}"] = members
        if weights.max() > 1:
            columns[f"weights-{number}"] = weights
    names = tuple(f"{shard:05d}" for shard in range(len(lengths)))
    header = PlanHeader(
        inputs=PlanInputs(shards="", subsets=("",) * len(chosen), order="window" if by_shard else "global"),
        naming=None,
        shards=names,
        ends=(0,) * len(names),
        rows=len(rows),
        digest="",
    )
    return SamplePlan(header, tuple(f"{name}.tar" for name in names), columns)
