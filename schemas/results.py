"""What an evaluation leaves: ``results.jsonl``, a row a task, and ``samples/``, a table of each task's samples."""

from __future__ import annotations

from clipsieve.schemas import files
from clipsieve.schemas.tables import content_digest

RESULTS_NAME = "results.jsonl"
SAMPLES_NAME = "samples"


def results_digest(folder: str) -> str:
    """Digest of an evaluation: of its rows, and of what its per-sample tables hold."""
    samples = files.list_files(files.join(folder, SAMPLES_NAME), ".parquet")
    parts = [f"{files.name_of(path)} {content_digest(path)}" for path in samples]
    return files.sha256_text(files.sha256_file(files.join(folder, RESULTS_NAME)), *parts)
