"""Evaluate, model loading and all, next to CLIP_benchmark with the same weights and threads: one task folder, and all
that is asked of ImageNet's images (zero-shot, ReaL, few-shot, linear probe), which CLIP_benchmark does one by one.

Where no interpreter that has CLIP_benchmark is named (see `benchmarks.peer_tasks`), ours is measured alone.
"""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files as resources
from pathlib import Path

from benchmarks.peer_tasks import WORDS, builtin_peer, peer_python, write_group, write_tasks
from benchmarks.timing import Contender, Row, clipsieve, clocked, compare


def run(scratch: Path) -> list[Row]:
    """Images a second from a folder of tar files to its metrics, each contender a process of its own."""
    write_tasks(scratch / "tasks")
    contenders = [Contender("clipsieve evaluate", clocked(partial(_ours, scratch / "tasks")))]
    if peer_python():
        contenders.append(Contender("CLIP_benchmark", clocked(partial(_peers, scratch / "tasks" / f"wds_{WORDS}"))))
    return [*compare("evaluate", "images", contenders), *_group(scratch / "group")]


def _group(data: Path) -> list[Row]:
    write_group(data)
    contenders = [Contender("clipsieve evaluate", clocked(partial(_ours_group, data)))]
    if peer_python():
        contenders.append(Contender("CLIP_benchmark, no probe", clocked(partial(_peers_group, data))))
    return compare("evaluate group", "images", contenders)


def _ours(tasks: Path, folder: Path) -> int:
    model, out = str(resources("clipsieve.pipelines") / "builtin"), folder / "out"
    clipsieve("evaluate", "--model", model, "--data", str(tasks), "--tasks", WORDS, "--out", str(out))
    return int(json.loads((out / "results.jsonl").read_text())["samples"])


def _ours_group(data: Path, folder: Path) -> int:
    asked = ["--tasks", "group,group2", "--protocols", "zeroshot,linear_probe,few_shot_5,few_shot_10"]
    model, out = str(resources("clipsieve.pipelines") / "builtin"), folder / "out"
    clipsieve("evaluate", "--model", model, "--data", str(data), "--out", str(out), *asked)
    return int(json.loads((out / "results.jsonl").read_text().splitlines()[0])["samples"])


def _peers_group(data: Path, _: Path) -> int:
    """Zero-shot on both sets of labels, and the embeddings of both splits, made once, that its probes begin with; the
    probes themselves, which ours are timed with, it runs on CUDA alone."""
    builtin_peer(data / "wds_group2")
    builtin_peer(data / "wds_group", "train")
    builtin_peer(data / "wds_group")
    return len(builtin_peer(data / "wds_group")[1])


def _peers(task: Path, _: Path) -> int:
    return len(builtin_peer(task)[1])
