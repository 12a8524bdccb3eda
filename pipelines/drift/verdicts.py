"""The tables that drift writes, counted: by verdict, and by host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from clipsieve.schemas import tables
from clipsieve.schemas.counts import DriftCounts
from clipsieve.schemas.drift import Verdict


def count_verdicts(paths: Iterable[str]) -> DriftCounts:
    """How many pairs of the files at ``paths`` have each verdict."""
    by: Counter[str] = Counter()
    for path in paths:
        for batch in tables.iter_batches(path, tables.DRIFT, ["drift"]):
            by.update({each["values"]: each["counts"] for each in batch["drift"].value_counts().to_pylist()})
    return DriftCounts(pairs=by.total(), **{verdict.value: by[verdict.value] for verdict in Verdict})


def count_hosts(paths: Iterable[str]) -> dict[str, Counter[str]]:
    """By host, how many of its pairs have each verdict."""
    hosts: dict[str, Counter[str]] = {}
    for path in paths:
        rows = tables.read_table(path, tables.DRIFT, ["host", "drift"])
        counted = rows.group_by(["host", "drift"]).aggregate([([], "count_all")])
        for each in counted.to_pylist():
            if each["host"] is not None:
                hosts.setdefault(each["host"], Counter())[each["drift"]] += each["count_all"]
    return hosts
