"""The builtin reference on the pairs that it never saw: the figures of its page, and what it is shipped as."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pyarrow.parquet as pq
import torch

from clipsieve import pipelines
from clipsieve.evaluation.separation import separation_auc
from clipsieve.pipelines.score.references import load_reference
from clipsieve.schemas.models import WEIGHTS_NAME

ROOM = Path(pipelines.__file__).parent


def test_it_tells_true_captions_from_swapped_ones_as_its_page_says():
    rows = pq.read_table(ROOM / "quickstart" / "pairs.parquet").to_pylist()
    images, titles, groups = ([row[name] for row in rows] for name in ("image", "title", "group"))
    found = separation_auc(load_reference("builtin"), images, titles, groups)
    page = (ROOM / "builtin" / "README.md").read_text()
    assert f"| {found.pairs:,} | {found.auc:.3f} | {found.low:.3f} to {found.high:.3f} |" in page
    assert found.low > 0.7


def test_it_is_small_safe_and_open_clips():
    weights = ROOM / "builtin" / WEIGHTS_NAME
    assert weights.stat().st_size <= 8_000_000
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{weights.parent}")
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
