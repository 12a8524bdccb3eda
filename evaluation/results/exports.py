"""The same results in the peers' files: DataComp's ``eval_results.jsonl``, CLIP_benchmark's JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from clipsieve.evaluation.datasets.catalogue import BY_SLUG
from clipsieve.evaluation.results.averages import averages
from clipsieve.evaluation.results.tables import json_lines
from clipsieve.schemas import files, strict_json

DATACOMP_NAME = "eval_results.jsonl"
AVERAGES_NAME = "averages.json"
_DIGEST_DIGITS = 12
_OURS_ALONE = ("main_metric", "mean_recall@1")


def write_exports(out: str, model: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``clip_benchmark/`` and ``averages.json`` next to ``results.jsonl``.

    ``eval_results.jsonl`` too, where a row is of a task of DataComp's.
    """
    if of_datacomp := datacomp_rows(rows):
        files.write_bytes(files.join(out, DATACOMP_NAME), json_lines(of_datacomp))
    files.write_bytes(files.join(out, AVERAGES_NAME), strict_json.dumps(averages(rows), indent=1).encode() + b"\n")
    benchmark = [benchmark_row(model, row) for row in rows]
    for row in benchmark:
        dataset = row["dataset"].removeprefix("wds/").replace("/", "_")
        file = f"{dataset}_{files.name_of(row['pretrained'])}_{row['model']}_{row['language']}_{row['task']}.json"
        files.write_bytes(files.join(out, "clip_benchmark", file), strict_json.dumps(row).encode())
    files.write_bytes(files.join(out, "clip_benchmark", "benchmark.csv"), _csv(benchmark))


def datacomp_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of DataComp's own tasks, under its keys and titles; its aggregator counts rows, so no others.

    DataComp's file may be continued with it: it has 38 tasks, of which some (WILDS, fairness, WinoGAViL) are not ours.
    """
    exported = []
    for row in rows:
        known = BY_SLUG.get(row["key"])
        if known and known.datacomp_key:
            exported.append({"key": known.datacomp_key, "dataset": known.title, "metrics": row["metrics"]})
    return exported


def benchmark_row(model: str, row: dict[str, Any]) -> dict[str, Any]:
    """A result as ``clip_benchmark eval`` dumps it."""
    name, pretrained = model_names(model, row["model_digest"])
    slug = row["key"].removesuffix(f".{row['task']}")
    known = BY_SLUG.get(slug)
    prefix = "lp_" if row["task"] == "linear_probe" else ""
    return {
        "dataset": f"wds/{known.key if known else slug}",
        "model": name,
        "pretrained": pretrained,
        "task": row["task"],
        "metrics": {prefix + name: value for name, value in row["metrics"].items() if name not in _OURS_ALONE},
        "language": "en",
    }


def model_names(model: str, digest: str) -> tuple[str, str]:
    """CLIP_benchmark's two words for a model: architecture and weights; of a model folder its name and digest.

    Not its path: a run elsewhere has the same files.
    """
    if not model.startswith("open_clip:"):
        return files.name_of(model), digest[:_DIGEST_DIGITS]
    name, at, weights = model.removeprefix("open_clip:").partition("@")
    if at:
        return name, weights
    architecture, _, tag = name.rpartition("/")
    return architecture, tag


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """As ``clip_benchmark build``: a column a metric, then what the metrics are of."""
    flat = [
        {**row["metrics"], **{k: v for k, v in row.items() if k != "metrics"}, "model_fullname": _full_name(row)}
        for row in rows
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(field for row in flat for field in row)), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue().encode()


def _full_name(row: dict[str, Any]) -> str:
    return f"{row['model']} {row['pretrained']}"
