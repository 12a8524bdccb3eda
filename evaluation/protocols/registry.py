"""Every way to evaluate a task, by name: to add one, write a module with ``evaluate(task, features) -> TaskResult``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from clipsieve.evaluation.datasets.task import ClassificationTask, MultilabelTask, RetrievalTask, Task
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols import few_shot, linear_probe, multilabel, retrieval, zero_shot
from clipsieve.evaluation.results.tables import TaskResult


@dataclass(frozen=True)
class Protocol:
    """What is done with a kind of task."""

    kind: type[Task]
    label: str
    """What CLIP_benchmark calls it."""
    evaluate: Callable[[Any, Features], TaskResult]
    main_metric: str
    suffix: str = ""
    """What a result's key has after the task's; none where a kind of task has this protocol by default."""
    learns: bool = False
    """Whether it needs the task's training split."""


# The probe stands before the few-shot protocols: it embeds all training images, of which they need some.
PROTOCOLS: Mapping[str, Protocol] = {
    "zeroshot": Protocol(ClassificationTask, "zeroshot_classification", zero_shot.evaluate, "acc1"),
    "retrieval": Protocol(RetrievalTask, "zeroshot_retrieval", retrieval.evaluate, "mean_recall@1"),
    "multilabel": Protocol(MultilabelTask, "zeroshot_classification", multilabel.evaluate, "mean_average_precision"),
    "linear_probe": Protocol(
        ClassificationTask, "linear_probe", linear_probe.evaluate, "acc1", ".linear_probe", learns=True
    ),
    **{
        f"few_shot_{shots}": Protocol(
            ClassificationTask,
            f"few_shot_{shots}",
            partial(few_shot.evaluate, shots=shots),
            "acc1",
            f".few_shot_{shots}",
            learns=True,
        )
        for shots in (5, few_shot.MOST_SHOTS)
    },
}
