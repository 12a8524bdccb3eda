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
        description="tasks of the data folder, by folder or DataComp's name, separated by commas; none: all of them",
        json_schema_extra={"flag": "--tasks"},
    )
    protocols: Names = Field(
        ("zeroshot", "retrieval", "multilabel"),
        description="separated by commas, each run on the tasks that it fits: zeroshot, retrieval, multilabel; and "
        "on tasks with a training split linear_probe, few_shot_5, few_shot_10",
        json_schema_extra={"flag": "--protocols"},
    )
    preset: Literal["openclip", "paper"] = Field(
        "openclip", description="openclip: the model's own preprocessing; paper: big_vision's, and its prompts"
    )
    prompts: str = Field(
        "own",
        description="prompts: own (the task folder's), openai (80), simple (7), name, or a file of templates with {c}",
    )
    batch_size: Positive = Field(128, description="images or texts in a forward pass")
