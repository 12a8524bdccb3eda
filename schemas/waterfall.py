"""What each rule of a filter removed, alone, in order and together with each other: `_waterfall.json` of its folder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

WATERFALL_NAME = "_waterfall.json"


class RuleCounts(BaseModel):
    """One rule, in counts of pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str
    """The reject_reason of what it removes."""
    text: str
    """What it keeps."""
    alone: int
    """Pairs that it rejects."""
    in_order: int
    """Pairs that it rejects and no earlier rule does."""
    only: int
    """Pairs that it rejects and no other rule does."""
    both: tuple[int, ...]
    """Pairs that it and each of the rules reject; at its own place, ``alone``."""


class Waterfall(BaseModel):
    """The rules in their order, over ``pairs`` pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int
    rules: tuple[RuleCounts, ...]

    @property
    def kept(self) -> int:
        """Pairs that no rule rejects."""
        return self.pairs - sum(rule.in_order for rule in self.rules)


def write_waterfall(waterfall: Waterfall, folder: str) -> None:
    files.write_bytes(files.join(folder, WATERFALL_NAME), waterfall.model_dump_json(indent=1).encode() + b"\n")


def read_waterfall(folder: str) -> Waterfall:
    """The waterfall of a folder of filters; InputError where there is none."""
    path = files.join(folder, WATERFALL_NAME)
    try:
        return Waterfall.model_validate_json(files.read_bytes(path))
    except ValidationError as error:
        raise InputError(f"{path}: not a waterfall of clipsieve ({error.errors()[0]['msg']})") from error
