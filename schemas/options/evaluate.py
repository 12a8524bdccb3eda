"""How a model is evaluated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clipsieve.schemas.options.base import Names, Options, Positive


class EvaluateOptions(Options):
    """One evaluation of a model."""

    may_change = frozenset({"batch_size"})

    tasks: Names = Field(
        (),
        description="tasks under --data, by folder or DataComp's name, commas between; none: all that are there",
        json_schema_extra={"flag": "--tasks"},
    )
    protocols: Names = Field(
        ("zeroshot", "retrieval", "multilabel"),
        description="what is done with each task that it fits, commas between: zeroshot, retrieval, multilabel, and "
        "where there is a training split linear_probe, few_shot_5, few_shot_10",
        json_schema_extra={"flag": "--protocols"},
    )
    preset: Literal["openclip", "paper"] = Field(
        "openclip", description="openclip: the model's own preprocessing; paper: big_vision's, and its prompts"
    )
    prompts: str = Field(
        "own", description="own (the task folder's), openai (80), simple (7), name, or a file of templates with {c}"
    )
    batch_size: Positive = 128
