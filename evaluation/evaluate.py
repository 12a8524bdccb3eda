"""Evaluate a model on a folder of tasks.

    python -m evaluation.evaluate --model runs/models/top40 --out runs/evaluations/top40

OUT then holds ``results.jsonl`` (DataComp's fields and more, a row a task), ``samples/`` (Parquet, a row a
sample) and the manifest. An evaluation that was stopped goes on with the task that it was at.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from evaluation import retrieval, zero_shot
from evaluation.datasets import BUILTIN, RetrievalTask, ZeroShotTask, find_tasks, read_task
from evaluation.embeddings import embed_images
from evaluation.results import Outcome, read_rows, write_rows, write_samples
from schemas import files
from schemas.errors import ClipsieveError
from schemas.manifest import Manifest, begin, finish, input_digest, read_manifest
from schemas.models import LoadedModel, load_model
from schemas.recipe import EvaluateOptions, parse_options
from schemas.results import results_digest

PROTOCOL = 1  # grows with every change that can move a metric
PRESET = "openclip"  # the model's own preprocessing


def run(model: str, data: str, out: str, options: EvaluateOptions) -> Manifest:
    """Evaluate ``model`` (a folder or ``open_clip:…``) on the tasks of ``data`` (a folder or ``builtin``).

    A complete ``out`` of the same model, data and options is returned as it is. Raises InputError for a model
    or task that is wrong: before anything is written, unless it is an image that cannot be decoded.
    """
    tasks = [read_task(folder) for folder in find_tasks(data, options.tasks)]
    loaded = load_model(model)
    inputs = {
        "model": _model_digest(loaded),
        "data": files.sha256_text(*(f"{task.key} {task.digest}" for task in tasks)),
    }
    recipe = {**options.model_dump(), "preset": PRESET, "protocol": PROTOCOL}
    manifest = begin(out, "evaluate", recipe, inputs)
    if manifest.complete:
        return manifest
    _place(loaded)
    rows = read_rows(out)
    for task in tasks[len(rows) :]:
        outcome = evaluate_task(loaded, task, options.batch_size)
        write_samples(out, task.key, outcome)
        rows.append(result_row(loaded, task, outcome))
        write_rows(out, rows)
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    counts = {"tasks": len(rows), "samples": sum(row["samples"] for row in rows)}
    return finish(out, manifest, counts, results_digest(out))


def evaluate_task(model: LoadedModel, task: ZeroShotTask | RetrievalTask, batch_size: int) -> Outcome:
    """Embed the task's images, each once, and take its metrics."""
    shown = tqdm(task.images(), desc=task.key, total=len(task.ids), unit="image", disable=None, leave=False)
    images = embed_images(model, shown, batch_size)
    if isinstance(task, RetrievalTask):
        return retrieval.evaluate(model, task, images, batch_size)
    return zero_shot.evaluate(model, task, images, batch_size)


def result_row(model: LoadedModel, task: ZeroShotTask | RetrievalTask, outcome: Outcome) -> dict[str, Any]:
    """A row of ``results.jsonl``."""
    is_zero_shot = isinstance(task, ZeroShotTask)
    return {
        "key": task.key,
        "dataset": task.name,
        "task": "zeroshot_classification" if is_zero_shot else "zeroshot_retrieval",
        "metrics": outcome.metrics,
        "intervals": outcome.intervals,
        "samples": outcome.samples,
        "preset": PRESET,
        "protocol": PROTOCOL,
        "model_digest": model.digest,
        "task_digest": task.digest,
        "templates_digest": files.sha256_text(*task.templates) if isinstance(task, ZeroShotTask) else None,
    }


def _model_digest(model: LoadedModel) -> str:
    """Of a folder of ours its manifest's digest, which leads back to its training; else the model's own."""
    if not model.name.startswith("open_clip:") and read_manifest(model.name) is not None:
        return input_digest(model.name)
    return model.digest


def _place(model: LoadedModel) -> None:
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32: convolutions would round to 10 bits
    model.model.to("cuda" if torch.cuda.is_available() else "cpu")


def _line(row: dict[str, Any]) -> str:
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in row["metrics"].items() if value is not None)
    return f"evaluate: {row['key']}: {row['samples']:,} images, {metrics}"


def main(
    model: Annotated[str, typer.Option(help="a model folder, open_clip:MODEL/PRETRAINED or open_clip:MODEL@FILE")],
    out: Annotated[str, typer.Option(help="folder of the results")],
    data: Annotated[str, typer.Option(help="folder of task folders; builtin: those of the package")] = BUILTIN,
    tasks: Annotated[list[str], typer.Option("--task", help="a task's name; all where none is given")] = [],  # noqa: B006
    batch_size: Annotated[int, typer.Option(help="images at a time")] = 128,
) -> None:
    """Evaluate a CLIP model on zero-shot classification and retrieval tasks."""
    try:
        options = parse_options(EvaluateOptions, {"tasks": tasks, "batch_size": batch_size}, "evaluate")
        run(model, data, out, options)
    except ClipsieveError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error


if __name__ == "__main__":
    typer.run(main)
