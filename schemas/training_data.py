"""What a model was trained on: subsets with their weights, or every pair of a folder of shards or a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

BAD_SAMPLES_NAME = "bad_samples.jsonl"
"""The file of a model's folder that lists the pairs that could not be read in training."""


class WeightedSubset(BaseModel):
    """A subset or sample that a stage read its pairs through."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """The file's, without its suffix: ``top40``."""
    path: str | None
    """As it was given; None in manifests that did not say."""
    weight: float = 1.0
    """Its share of the samples seen is this by the sum of all weights."""
    digest: str
    """`input_digest` of the file."""


@dataclass(frozen=True)
class TrainingData:
    """The pairs that a model or tokenizer was trained on."""

    subsets: tuple[WeightedSubset, ...]
    """None: every pair of the source."""
    source: Literal["shards", "pairs"]
    """Whether the pairs came from a folder of shards or from a table of pairs."""
    digest: str
    """Of that source."""

    @property
    def is_all(self) -> bool:
        """Whether no subset was chosen."""
        return not self.subsets

    @property
    def names(self) -> frozenset[str]:
        """The subsets' names."""
        return frozenset(subset.name for subset in self.subsets)

    @property
    def shares(self) -> list[tuple[str, float]]:
        """The subsets' names, each with its share of the samples seen, as a fraction."""
        whole = sum(subset.weight for subset in self.subsets)
        return [(subset.name, subset.weight / whole) for subset in self.subsets]


def subset_digests(subsets: Iterable[WeightedSubset]) -> dict[str, str]:
    """The subsets' digests by ``subset NAME``, to show and compare; those of one name after each other."""
    digests: dict[str, list[str]] = {}
    for subset in subsets:
        digests.setdefault(f"subset {subset.name}", []).append(subset.digest)
    return {name: " ".join(of_name) for name, of_name in digests.items()}


def mixture(subsets: Sequence[WeightedSubset]) -> str | None:
    """``top40``, or ``top20=0.7,top80=0.3``; None without subsets."""
    if len(subsets) < 2:
        return subsets[0].name if subsets else None
    return ",".join(f"{subset.name}={subset.weight:g}" for subset in subsets)
