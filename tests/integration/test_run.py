"""A small run, whole: its counts, its folders, its repetition, and its twin on another number of workers."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas.ledger import LEDGER_NAME, Ledger
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.run import read_run
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, content_digest, read_table

ROWS, DUPLICATES, SUCCESS = 85, 5, 72
CARD_NAME = "README.md"


def paths_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def read_all(run: Path, folder: str) -> list[dict]:
    return [row for path in sorted((run / folder).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_counts_are_those_of_the_web_that_was_served(small_run: Path) -> None:
    counts = {name: manifest.counts.shown for name, manifest in read_run(str(small_run)).manifests.items()}
    assert counts["shards"] == {
        "rows": ROWS,
        "duplicates": DUPLICATES,
        "success": SUCCESS,
        "failed_to_download": 6,
        "failed_to_resize": 2,
        "error_http_error": 3,
        "error_not_an_image": 2,
        "error_connection_error": 1,
        "error_opted_out": 1,
        "error_forbidden_address": 1,
    }
    assert counts["scores"] == {"pairs": SUCCESS, "shards": 3}
    assert counts["selection"] == {"pairs": SUCCESS, "eligible": SUCCESS}
    assert counts["subsets"] == {"top20": 14, "top40": 28, "top60": 43, "top80": 57}
    assert counts["samples"] == {"10": 10, "30": 30}
    assert counts["resharded/top40"] == {"pairs": 28, "shards": 3}
    for name, pairs in (("top40", 28), ("all", SUCCESS)):
        trained = counts[f"models/{name}"]
        assert (trained["pairs"], trained["steps"], trained["samples_seen"]) == (pairs, 6, 96)
        assert trained["unique_samples"] == pairs
        assert counts[f"evaluations/{name}"] == {"tasks": 1, "samples": 20}


def test_every_input_row_ends_once(small_run: Path) -> None:
    given = {(row["url"], row["caption"]) for row in read_all(small_run, "pairs")}
    rows = read_all(small_run, "shards")
    assert len(rows) == len(given) == ROWS - DUPLICATES
    assert {(row["url"], row["caption"]) for row in rows} == given
    downloaded = [row["key"] for row in rows if row["status"] == "success"]
    members = []
    for path in sorted((small_run / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            members += tar.getnames()
    assert members == [f"{key}.{extension}" for key in downloaded for extension in ("jpg", "json", "txt")]
    uids = [row["uid"] for row in rows if row["status"] == "success"]
    assert [row["uid"] for row in read_all(small_run, "scores")] == uids
    assert [row["uid"] for row in read_all(small_run, "selection")] == uids


def test_the_folders_are_those_of_the_design(small_run: Path) -> None:
    assert {path.name for path in small_run.iterdir() if path.is_dir()} == {
        *("pairs", "shards", "scores", "selection", "subsets", "samples"),
        *("resharded", "models", "evaluations", "report"),
    }
    assert {path.name for path in small_run.iterdir() if path.is_file()} == {"recipe.yaml", "manifest.json"}
    gathered = json.loads((small_run / "manifest.json").read_text())["stages"]
    made = ["resharded/top40", "models/all", "models/top40", "evaluations/all", "evaluations/top40"]
    assert list(gathered) == ["shards", "scores", "selection", "subsets", "samples", *made]
    assert all(manifest["status"] == "complete" for manifest in gathered.values())
    assert (small_run / "report" / "index.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("percent", [20, 40, 60, 80])
def test_subsets_are_the_best_of_a_plain_sort(small_run: Path, percent: int) -> None:
    scores = [(-row["similarity"], row["uid"]) for row in read_all(small_run, "scores")]
    best = {uid for _, uid in sorted(scores)[: SUCCESS * percent // 100]}
    assert {row["uid"] for row in pq.read_table(small_run / f"subsets/top{percent}.parquet").to_pylist()} == best


def test_samples_are_nested(small_run: Path) -> None:
    small, large = (set(np.load(small_run / "samples" / f"{size}.npy").tolist()) for size in (10, 30))
    assert len(small) == 10 and small < large


def test_verify_finds_nothing(small_run: Path, command) -> None:
    ended = command("verify", small_run)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert all(line.startswith("ok  ") for line in lines)
    assert [line for line in lines if "not there" in line] == [
        f"ok  {name}: not there, not checked" for name in ("drift", "filters", "dedup", "tokenizer")
    ]
    assert lines[1].startswith("ok  pairs: 85 rows, 80 distinct")
    assert lines[0].startswith("ok  shards: 85 rows = 5 duplicates + 72 downloaded + 8 failed, in 3 shards")


def test_running_again_changes_nothing(small_run: Path, command) -> None:
    def state() -> dict[str, tuple[str, int]]:
        return {
            name: (
                hashlib.sha256((small_run / name).read_bytes()).hexdigest(),
                (small_run / name).stat().st_mtime_ns,
            )
            for name in paths_of(small_run)
        }

    before = state()
    ended = command("run", small_run / "recipe.yaml")
    assert ended.status == 0, ended.err
    assert state() == before


def test_stage_by_stage_on_one_worker_gives_the_same(small_run: Path, run_by_stages: Path) -> None:
    assert paths_of(run_by_stages) == paths_of(small_run)
    for name in sorted(paths_of(small_run)):
        one, other = small_run / name, run_by_stages / name
        if name.endswith(TRAIN_LOG_NAME):
            assert losses(one) == losses(other), name
        elif name.endswith(LEDGER_NAME):
            ledgers = [Ledger.model_validate_json(path.read_bytes()) for path in (one, other)]
            assert ledgers[0] == ledgers[1].model_copy(update={"device_hours": ledgers[0].device_hours}), name
        elif name.endswith(".parquet"):
            assert content_digest(str(one)) == content_digest(str(other)), name
        elif name.startswith("shards/") and name.endswith("_stats.json"):
            assert without_times(one) == without_times(other), name
        elif name.endswith(CARD_NAME):
            cards = [path.read_text().splitlines() for path in (one, other)]
            assert without_device_hours(cards[0]) == without_device_hours(cards[1]), name
        elif not name.endswith("manifest.json"):
            assert one.read_bytes() == other.read_bytes(), name


def test_manifests_of_both_agree_times_aside(small_run: Path, run_by_stages: Path) -> None:
    """A subset's path aside too, which is where it lay."""
    one, other = read_run(str(small_run)).manifests, read_run(str(run_by_stages)).manifests
    assert list(one) == list(other)
    for name, manifest in one.items():
        assert without_times_and_paths(manifest) == without_times_and_paths(other[name]), name


def without_times_and_paths(manifest: Manifest) -> Manifest:
    subsets = [subset.model_copy(update={"path": None}) for subset in manifest.subsets]
    return manifest.model_copy(update={"started_at": "", "finished_at": "", "subsets": subsets})


def test_report_alone_needs_no_stage_again(run_by_stages: Path, command) -> None:
    page = run_by_stages / "report" / "index.html"
    before = page.read_bytes()
    page.unlink()
    ended = command("report", run_by_stages)
    assert (ended.status, ended.out) == (0, f"{page}\n")
    assert page.read_bytes() == before


def without_times(stats: Path) -> dict:
    content = json.loads(stats.read_text())
    return {key: value for key, value in content.items() if not key.endswith("_time") and key != "duration"}


def losses(log: Path) -> list[tuple[int, float]]:
    rows = read_table(str(log), TRAIN_LOG, ["step", "loss"])
    return list(zip(rows["step"].to_pylist(), rows["loss"].to_pylist(), strict=True))


def without_device_hours(card: list[str]) -> list[str]:
    return [line for line in card if not line.startswith("| device-hours |")]
