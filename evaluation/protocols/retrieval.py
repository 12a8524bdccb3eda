"""Image-text retrieval: recall at 1, 5 and 10 in both directions, under CLIP_benchmark's names and protocol.

text_retrieval_recall@k (image to text) is averaged over images: one is found if any of its own captions is in
the top k. image_retrieval_recall@k (text to image) is averaged over captions. Where two images have the same
caption, each copy is right for its own image alone, as in CLIP_benchmark, which leaves the order of such ties
open (`torch.topk`); here the lower index goes first, for images as for captions. See docs/evaluation.md.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clipsieve.evaluation.datasets.task import RetrievalTask
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.ranking import hit_rate, rank_of, score_chunks
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.evaluation.statistics.intervals import wilson
from clipsieve.schemas.task_tables import RETRIEVAL_IMAGES, RETRIEVAL_TEXTS

CUTOFFS = (1, 5, 10)


def evaluate(task: RetrievalTask, features: Features) -> TaskResult:
    """Retrieve among the task's N images and its captions.

    The intervals count images, not captions, since captions of one image are not independent.
    """
    counts = [len(captions) for captions in task.captions]
    owner = np.repeat(np.arange(len(counts)), counts)
    images = features.images(task)
    texts = features.texts([text for captions in task.captions for text in captions])
    image_ranks, text_ranks = best_own_ranks(images, texts, owner), own_ranks(images, texts, owner)
    metrics = retrieval_metrics(image_ranks, text_ranks)
    tables = {
        ".images": (RETRIEVAL_IMAGES, pa.table({"id": list(task.ids), "rank": image_ranks})),
        ".texts": (
            RETRIEVAL_TEXTS,
            pa.table(
                {
                    "id": [task.ids[row] for row in owner],
                    "caption_index": np.concatenate([np.arange(count) for count in counts]),
                    "rank": text_ranks,
                }
            ),
        ),
    }
    intervals = {name: wilson(value, len(images)) for name, value in metrics.items()}
    return TaskResult(metrics, intervals, len(images), tables)


def best_own_ranks(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Image to text, int64[N]: how many captions stand before the best of the image's own.

    ``owner[j]`` is the row of images[N, D] that the caption texts[j] belongs to.
    """
    ranks = np.empty(len(images), np.int64)
    for chunk, scores in score_chunks(images, texts):
        is_own = owner == np.arange(chunk.start, chunk.stop)[:, None]
        best = np.where(is_own, scores, -np.inf).argmax(axis=1)
        ranks[chunk] = rank_of(scores, best)
    return ranks


def own_ranks(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Text to image, int64[M]: how many images stand before the caption's own."""
    ranks = np.empty(len(texts), np.int64)
    for chunk, scores in score_chunks(texts, images):
        ranks[chunk] = rank_of(scores, owner[chunk])
    return ranks


def retrieval_metrics(image_ranks: np.ndarray, text_ranks: np.ndarray) -> dict[str, float]:
    """Recalls as fractions, and DataComp's mean_recall@1, the mean of both directions."""
    metrics = {}
    for k in CUTOFFS:
        metrics[f"image_retrieval_recall@{k}"] = hit_rate(text_ranks, k)
        metrics[f"text_retrieval_recall@{k}"] = hit_rate(image_ranks, k)
    metrics["mean_recall@1"] = (hit_rate(text_ranks, 1) + hit_rate(image_ranks, 1)) / 2
    return metrics
