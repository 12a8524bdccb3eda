"""Which samples a plan of training runs holds, and for which order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clipsieve.schemas.options.base import Options


class PlanOptions(Options):
    """What `train` is also asked: a plan is good for the runs that are asked the same."""

    allow_missing: bool = Field(False, description="plan those of a subset's members that are there; they are counted")
    order: Literal["global", "window"] = Field("global", description="order of the runs, as of `train`")
