"""What a model gets wrong, as one HTML file: made with the evaluation, whose images are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipsieve.evaluation.datasets.task import ClassificationTask, RetrievalTask, Task
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.mistakes.classes import WORST
from clipsieve.evaluation.mistakes.examples import Classification, Retrieval, look_at_classes, look_at_retrieval
from clipsieve.evaluation.pages.rendering import render_page
from clipsieve.evaluation.pages.thumbnails import shorten, thumbnail
from clipsieve.schemas import files
from clipsieve.schemas.images import TASK_FORMATS, decode_image


@dataclass(frozen=True)
class ShownPicture:
    """A sample as it is shown; ``image`` is a data URI."""

    image: str
    width: int
    height: int
    alt: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ClassView:
    name: str
    samples: int
    accuracy: float
    interval: tuple[float, float]
    confusions: str


@dataclass(frozen=True)
class TaskMistakes:
    """One task's part of the page; what does not apply is empty."""

    title: str
    note: str
    classes: tuple[ClassView, ...] = ()
    confusion: tuple[tuple[str, tuple[int, ...]], ...] = ()
    heads: tuple[str, ...] = ()
    galleries: tuple[tuple[str, tuple[ShownPicture, ...]], ...] = ()


def write_page(
    out: str, model: str, tasks: Sequence[Task], features: Features, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``out``/report/index.html of the zero-shot results and retrievals among ``rows``."""
    views = []
    for task in (task for task in tasks if task.key in {row["key"] for row in rows}):
        if isinstance(task, ClassificationTask):
            views.append(_classification_view(task, look_at_classes(task, features, WORST)))
        elif isinstance(task, RetrievalTask):
            views.append(_retrieval_view(task, *look_at_retrieval(task, features)))
    page = render_page(Path(__file__).with_name("mistakes.html"), model=files.name_of(model), rows=rows, tasks=views)
    files.write_if_changed(files.join(out, "report", "index.html"), page)


def _classification_view(task: ClassificationTask, found: Classification) -> TaskMistakes:
    names = _class_names(task)
    worst = found.classes[:WORST]
    pictures = _pictures(
        task,
        {
            mistake.row: (
                f"taken for {names[mistake.prediction]}",
                f"is {names[mistake.label]}",
                f"by {mistake.margin:.3f} of similarity",
            )
            for mistake in found.mistakes
        },
    )
    return TaskMistakes(
        task.name,
        f"{found.wrong:,} of {found.samples:,} images are given a wrong class.",
        tuple(
            ClassView(
                names[each.class_],
                each.samples,
                each.accuracy,
                each.interval,
                ", ".join(f"{names[other]} {count:,}" for other, count in each.confusions),
            )
            for each in found.classes
        ),
        tuple((names[each.class_], tuple(row)) for each, row in zip(worst, found.confusion.tolist(), strict=True)),
        (*(names[each.class_] for each in worst), "any other"),
        (("The most confident mistakes", pictures),),
    )


def _retrieval_view(task: RetrievalTask, right: Sequence[Retrieval], wrong: Sequence[Retrieval]) -> TaskMistakes:
    retrieved = {found.row: (f"“{shorten(found.own)}”", f"first, by {found.margin:.3f}") for found in right}
    missed = {
        found.row: (
            f"“{shorten(found.other)}” comes first",
            f"own: “{shorten(found.own)}”",
            f"at place {found.own_rank + 1:,}, behind by {found.margin:.3f}",
        )
        for found in wrong
    }
    return TaskMistakes(
        task.name,
        "From images to captions, the clearest cases by similarity.",
        galleries=(("Found", _pictures(task, retrieved)), ("Not found", _pictures(task, missed))),
    )


def _class_names(task: ClassificationTask) -> dict[int, str]:
    """A name for each class: of several the first, and of equal ones each with its number."""
    names: dict[int, str] = {}
    for name, class_ in zip(task.classnames, task.class_of, strict=True):
        names.setdefault(class_, name.split(",")[0])
    every = list(names.values())
    return {class_: f"{name} ({class_})" if every.count(name) > 1 else name for class_, name in names.items()}


def _pictures(task: Task, lines: Mapping[int, tuple[str, ...]]) -> tuple[ShownPicture, ...]:
    """The samples that ``lines`` has words for, in its order."""
    rows = np.array(sorted(lines), np.int64)
    images = dict(zip(rows.tolist(), task.samples.only(rows).stream(0, len(rows)), strict=True)) if lines else {}
    pictures = []
    for row, words in lines.items():
        where, data = images[row]
        small = thumbnail(decode_image(data, where, TASK_FORMATS))
        pictures.append(ShownPicture(*small, alt=f"{task.ids[row]}: {words[0]}", lines=words))
    return tuple(pictures)
