"""Zero-shot classification: an image belongs to the class whose prompts it is most similar to.

The protocol of CLIP (Radford et al. 2021, section 3.1.4), as open_clip, CLIP_benchmark and DataComp run it.
"""

from __future__ import annotations

import numpy as np

from clipsieve.evaluation.datasets.task import ClassificationTask
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.classification import classify_task
from clipsieve.evaluation.protocols.prompts import class_prompts
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.evaluation.statistics.intervals import wilson
from clipsieve.schemas.task_tables import ZERO_SHOT_SAMPLES


def evaluate(task: ClassificationTask, features: Features) -> TaskResult:
    """Classify the task's images by the prompts of its classes. Images that have no right class are left out."""
    classes = features.classes(class_prompts(task, features.prompts, features.preset))
    done = classify_task(task, features.images(task), classes, np.array(task.class_of))
    samples = len(done.ids)
    intervals = {name: wilson(x, samples) for name in ("acc1", "acc5") if (x := done.metrics[name]) is not None}
    return TaskResult(done.metrics, intervals, samples, {"": (ZERO_SHOT_SAMPLES, done.table())})
