"""The Arrow schema of what an evaluation says of each sample of a task."""

from __future__ import annotations

import pyarrow as pa

from clipsieve.schemas.tables import Table, column

_SAMPLE_ID = column("id", pa.string(), "key of the sample in the task's tar files", nullable=False)
_RANK = column("rank", pa.int32(), "candidates that stand before the right one; 0 is the best", nullable=False)

ZERO_SHOT_SAMPLES = Table(
    "zero-shot samples",
    pa.schema(
        [
            _SAMPLE_ID,
            column("label", pa.int32(), "index of the true class", nullable=False),
            column("prediction", pa.int32(), "index of the class of highest similarity", nullable=False),
            column("correct", pa.bool_(), "whether the two are the same", nullable=False),
            _RANK,
        ]
    ),
)

FEW_SHOT_SAMPLES = Table(
    "few-shot samples",
    pa.schema(
        [*ZERO_SHOT_SAMPLES.schema, column("seed", pa.int32(), "of the draw of the support set", nullable=False)]
    ),
)

MULTILABEL_SAMPLES = Table(
    "multilabel samples",
    pa.schema(
        [
            _SAMPLE_ID,
            column("class_index", pa.int32(), "index of a class; an image has a row a class", nullable=False),
            column("is_of", pa.bool_(), "whether the image is of that class", nullable=False),
            column("rank", pa.int32(), "images more similar to that class; 0 is the best", nullable=False),
        ]
    ),
)

RETRIEVAL_IMAGES = Table("retrieval images", pa.schema([_SAMPLE_ID, _RANK]))

RETRIEVAL_TEXTS = Table(
    "retrieval texts",
    pa.schema(
        [
            _SAMPLE_ID,
            column("caption_index", pa.int32(), "which of its image's captions", nullable=False),
            _RANK,
        ]
    ),
)
