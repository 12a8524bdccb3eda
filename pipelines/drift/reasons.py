"""Why a pair has its verdict, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.pipelines.drift.judge import Judged
from clipsieve.pipelines.drift.pairs import DownloadedPairs
from clipsieve.pipelines.drift.published import Stated
from clipsieve.schemas.drift import Verdict


@dataclass(frozen=True)
class Reasons:
    """The reasons of all pairs, told as they are needed."""

    pairs: DownloadedPairs
    stated: Stated
    judged: Judged

    def of(self, rows: range, hosts: Sequence[str | None]) -> Iterator[str]:
        """Those of some pairs, whose hosts are ``hosts``."""
        for row, host in zip(rows, hosts, strict=True):
            yield self._of(row, host)

    def _of(self, row: int, host: str | None) -> str:
        verdict = self.judged.verdicts[row]
        if verdict == Verdict.UNKNOWN.value:
            return (
                "nothing was published to compare with" if self.stated.is_there[row] else "not in the published table"
            )
        if self.judged.evidence.is_same[row]:
            return "the published bytes"
        told = [*self._sizes(row), *self._differences(row)]
        if verdict == Verdict.PLACEHOLDER.value:
            told.insert(0, f"one image under {self.judged.copies[row]} URLs, most of which showed another")
        if verdict == Verdict.EXPIRED.value:
            told.insert(0, f"nearly all images of {host} are others now")
        return "; ".join(told) or "nothing says otherwise"

    def _sizes(self, row: int) -> Iterator[str]:
        """What the sizes say, and the bytes."""
        evidence = self.judged.evidence
        (own_width, own_height), (width, height) = self.pairs.sizes[row], self.stated.sizes[row]
        if evidence.has_equal_size[row]:
            yield f"the published size, {width} x {height}"
        elif evidence.has_size[row]:
            shape = ", of the same shape" if evidence.has_shape[row] else ""
            yield f"{width} x {height} was published, {own_width} x {own_height} came{shape}"
        elif self.pairs.sha256[row] and self.stated.sha256[row]:
            yield "other bytes"

    def _differences(self, row: int) -> Iterator[str]:
        """What says that it is another picture, the sizes apart."""
        evidence = self.judged.evidence
        if evidence.is_off[row]:
            change = evidence.change[row]
            most = int(np.nanargmax(np.abs(change)))
            before, now = self.stated.similarities[row, most], self.pairs.similarities[row, most]
            yield f"similarity {before:.3f} was published, {now:.3f} came: {evidence.deviation[row]:.0f} deviations off"
        if evidence.is_far[row]:
            yield f"cosine {self.stated.cosine[row]:.2f} to the published embedding"
