"""The configured cuts of a run, as its subsets folder holds them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from clipsieve.schemas import files, tables

_TOP = re.compile(r"top(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class SubsetCut:
    """The subset of the top ``percent``% of the eligible pairs, and its last member in rank order."""

    name: str
    percent: float
    count: int
    similarity: float
    uid: str

    def keeps(self, similarity: np.ndarray, uid: np.ndarray) -> np.ndarray:
        """similarity float64[N], uid str[N] -> bool[N]: which are members; ties went to the smaller uid."""
        tied = (similarity == self.similarity) & (uid <= self.uid)
        return (similarity > self.similarity) | tied


def read_cuts(folder: str) -> tuple[SubsetCut, ...]:
    """The cuts of a subsets folder, the narrowest first.

    A subset that keeps nothing, or everything, is no cut, nor is a file that is not named topQ.parquet.
    """
    cuts = []
    for path in files.list_files(folder, ".parquet"):
        name = files.name_of(path).removesuffix(".parquet")
        match = _TOP.fullmatch(name)
        if match:
            count, similarity, uid = _last_member(path)
            if count and float(match[1]) < 100:
                cuts.append(SubsetCut(name, float(match[1]), count, similarity, uid))
    return tuple(sorted(cuts, key=lambda cut: cut.percent))


def _last_member(path: str) -> tuple[int, float, str]:
    """A subset's count, its smallest similarity and, of the members that have it, the largest uid."""
    count, last = 0, (-np.inf, "")
    for batch in tables.iter_batches(path, tables.SUBSET, ["uid", "similarity"]):
        if batch.num_rows:
            lowest = pc.min(batch["similarity"])
            uid = pc.max(batch["uid"].filter(pc.equal(batch["similarity"], lowest)))
            count += batch.num_rows
            last = max(last, (-lowest.as_py(), uid.as_py()))
    return count, -last[0], last[1]
