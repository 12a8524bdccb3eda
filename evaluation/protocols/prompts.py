"""The sentences that name a class: sets of templates, and how a preset writes them."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from clipsieve.evaluation.datasets.layouts.text import read_templates
from clipsieve.evaluation.datasets.task import ClassificationTask, MultilabelTask

OWN = "own"
SETS = {
    "openai": tuple(template("{c}") for template in OPENAI_IMAGENET_TEMPLATES),
    "simple": tuple(template("{c}") for template in SIMPLE_IMAGENET_TEMPLATES),
    "name": ("{c}",),
}
"""OpenAI's 80 for ImageNet, the 7 that they found to do nearly as well, and the bare name."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def class_prompts(task: ClassificationTask | MultilabelTask, chosen: str, preset: str) -> list[list[str]]:
    """The prompts of each of the task's names.

    ``chosen``: ``own`` (those of the task's folder; without any, OpenAI's 80), a set's name, or a file of templates, a
    line each. The preset ``paper`` writes names and templates as big_vision canonicalises them.
    """
    templates = _templates(task, chosen)
    names: Sequence[str] = task.classnames
    if preset == "paper":
        templates = ["{c}".join(canonical(part) for part in template.split("{c}")) for template in templates]
        names = [canonical(name.split(",")[0]).strip() for name in names]
    return [[template.replace("{c}", name) for template in templates] for name in names]


def canonical(text: str) -> str:
    """Lowercase, without punctuation, ``_`` and runs of white space one space (big_vision's ``_canonicalize``)."""
    return re.sub(r"\s+", " ", text.replace("_", " ").translate(_PUNCTUATION).lower())


def _templates(task: ClassificationTask | MultilabelTask, chosen: str) -> Sequence[str]:
    if chosen == OWN:
        return task.templates or SETS["openai"]
    return SETS.get(chosen) or read_templates(chosen)
