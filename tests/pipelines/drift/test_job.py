"""The whole job: each kind is told, whatever the files, and what filter, verify and the terminal make of it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from clipsieve.pipelines.drift.job import run
from clipsieve.pipelines.drift.show import drift_table
from clipsieve.pipelines.engine.parts import folder_digest, part_of, write_parts
from clipsieve.pipelines.filters import job as filters
from clipsieve.pipelines.verify.drift import check_drift
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.drift import Verdict
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.options import DriftOptions, FilterOptions
from tests.pipelines.drift.drift_pool import PAIRS, kind_of, pool, write
from tests.pipelines.filters.filter_pool import verdicts

GONE = {"swapped", "placeholder", "expired"}
EXPECTED = {row["uid"]: kind_of(number) for number, row in enumerate(pool()[0])}


def drift_of(where: dict[str, str], *columns: str, scores: bool = True) -> dict[str, str]:
    options = DriftOptions(columns=columns)
    run(where["shards"], where["published"], where["out"], options, where["scores"] if scores else None)
    return {uid: row["drift"] for uid, row in verdicts(Path(where["out"])).items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    where = write(tmp_path_factory.mktemp("pool"))
    drift_of(where)
    return where


def test_each_kind_is_told(made: dict[str, str]) -> None:
    found = verdicts(Path(made["out"]))
    assert {uid: row["drift"] for uid, row in found.items()} == EXPECTED
    assert set(EXPECTED.values()) == {verdict.value for verdict in Verdict}
    for path in Path(made["scores"]).glob("*.parquet"):
        assert pq.read_table(Path(made["out"]) / path.name)["uid"].equals(pq.read_table(path)["uid"])
    reasons = {row["drift"]: row["drift_reason"] for row in found.values()}
    assert reasons["same"] == "the published bytes" and reasons["unknown"] == "not in the published table"
    assert reasons["reencoded"] == "the published size, 640 x 480"
    assert reasons["resized"] == "640 x 480 was published, 320 x 240 came, of the same shape"
    assert reasons["swapped"] == "640 x 480 was published, 480 x 480 came"
    assert reasons["placeholder"].startswith("one image under 6 URLs, most of which showed another; 640 x 480 was")
    assert reasons["expired"].startswith("nearly all images of gone.example.com are others now; the published size")
    assert "was published, 0.020 came" in reasons["expired"]


def test_the_counts_are_the_manifest_s_and_verify_holds(made: dict[str, str]) -> None:
    found = manifest.read_manifest(made["out"])
    counts = Counter(EXPECTED.values())
    assert found and found.counts.shown == {"pairs": PAIRS, **{each.value: counts[each.value] for each in Verdict}}
    assert sorted(found.inputs) == ["published", "scores", "shards"]
    gone = sum(counts[kind] for kind in GONE)
    detail = f"{PAIRS} pairs compared, {gone} are not what the publisher saw"
    assert check_drift(made["out"], made["scores"]).detail == detail


@pytest.mark.parametrize(("files", "parts"), [(1, 1), (5, 3)])
def test_the_split_into_files_does_not_matter(made: dict[str, str], tmp_path: Path, files: int, parts: int) -> None:
    where = write(tmp_path, files, parts)
    drift_of(where)
    assert verdicts(Path(where["out"])) == verdicts(Path(made["out"]))


def test_a_table_without_uids_gives_the_same(made: dict[str, str], tmp_path: Path) -> None:
    where = write(tmp_path, uid=None, url="URL", caption="TEXT", original_width="WIDTH", original_height="HEIGHT")
    drift_of(where)
    assert verdicts(Path(where["out"])) == verdicts(Path(made["out"]))


def test_columns_of_other_names_are_named(made: dict[str, str], tmp_path: Path) -> None:
    where = write(tmp_path, uid="key", original_width="w", original_height="h", sha256="digest", similarity="fit")
    said = ("uid=key", "width=w", "height=h", "sha256=digest", "similarity=fit")
    assert drift_of(where, *said) == EXPECTED


def test_without_scores_sizes_and_hashes_tell(tmp_path: Path) -> None:
    where = write(tmp_path, files=1)
    (Path(where["shards"]) / "00000.tar").touch()
    (Path(where["shards"]) / "00000_stats.json").write_text("{}")
    found = drift_of(where, scores=False)
    (extra,) = set(found) - set(EXPECTED)  # the shard's pair that has no score
    assert found[extra] == "unknown"
    without = {"expired": "reencoded"}  # of these the similarity alone told
    assert {uid: found[uid] for uid in EXPECTED} == {uid: without.get(kind, kind) for uid, kind in EXPECTED.items()}


def test_a_folder_that_is_done_is_left_and_another_recipe_is_refused(made: dict[str, str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in Path(made["out"]).iterdir()}
    drift_of(made)
    assert {path.name: path.stat().st_mtime_ns for path in Path(made["out"]).iterdir()} == before
    with pytest.raises(InputError, match="done with another recipe or input: `columns` was"):
        drift_of(made, "sha256=none")


def test_the_filter_rule_drops_what_the_publisher_did_not_see(made: dict[str, str], tmp_path: Path) -> None:
    out, rules = str(tmp_path / "filters"), FilterOptions(rules=("drifted", "many: copies < 3"))
    filters.run(made["scores"], out, rules, ["--runner=FnApiRunner"], made["shards"], drift=made["out"])
    found = verdicts(tmp_path / "filters")
    assert {uid: row["drifted"] for uid, row in found.items()} == {u: kind in GONE for u, kind in EXPECTED.items()}
    assert {row["many"] for uid, row in found.items() if EXPECTED[uid] == "placeholder"} == {True}
    done = manifest.read_manifest(out)
    assert done and sorted(done.inputs) == ["drift", "scores", "shards"]


def test_the_rule_without_the_folder_says_what_to_name(made: dict[str, str], tmp_path: Path) -> None:
    rules = FilterOptions(rules=("drifted",))
    for shards in (made["shards"], None):
        with pytest.raises(InputError, match=r"column 'drift' is missing.*name the folder that has it with --drift"):
            filters.run(made["scores"], str(tmp_path / "filters"), rules, ["--runner=FnApiRunner"], shards)


def test_the_terminal_shows_classes_and_the_worst_hosts(made: dict[str, str]) -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(drift_table(made["out"]))
    lines = [line.replace("│", " ").split() for line in shown.get().splitlines()]
    counts = Counter(EXPECTED.values())
    assert ["all", *(str(counts[verdict.value]) for verdict in Verdict)] in lines
    others = counts["swapped"] + counts["placeholder"]
    hosts = [line[0] for line in lines if line and line[0].endswith((".com", ".org"))]
    assert hosts == sorted(
        hosts, key=lambda host: -{"example.org": others, "gone.example.com": counts["expired"]}[host]
    )


def test_a_pair_that_is_not_in_its_shard_is_named(made: dict[str, str], tmp_path: Path) -> None:
    scores = Path(shutil.copytree(made["scores"], tmp_path / "scores"))
    rows = pq.read_table(scores / "00001.parquet").to_pylist()
    rows[2]["uid"] = "f" * 32
    tables.write_table(type(pq.read_table(scores / "00001.parquet")).from_pylist(rows), tables.SCORES,
                       str(scores / "00001.parquet"), ["uid"])  # fmt: skip
    with pytest.raises(InputError, match=r"scores/00001.parquet: row 3: its uid is not in .*score these shards"):
        drift_of(made | {"scores": str(scores), "out": str(tmp_path / "out")})
    assert manifest.read_manifest(str(tmp_path / "out")) is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("drift", "lost", "'lost' is no verdict"),
        ("drift", "same", "its manifest counts other verdicts than its files hold"),
        ("drift_reason", None, "a row has no drift_reason"),
        ("uid", "f" * 32, "the scored pair's uid"),
    ],
)
def test_verify_names_what_does_not_hold(
    made: dict[str, str], tmp_path: Path, column: str, value: str, message: str
) -> None:
    out = Path(shutil.copytree(made["out"], tmp_path / "drift"))
    rows = pq.read_table(out / "00000.parquet")
    changed = rows.to_pylist()
    row = next(number for number, each in enumerate(changed) if each["drift"] == "swapped")
    changed[row][column] = value
    tables.write_table(type(rows).from_pylist(changed, tables.DRIFT.schema), tables.DRIFT, str(out / "00000.parquet"))
    with pytest.raises(ClipsieveError, match=r"00000.parquet: its content is not what it was"):
        check_drift(str(out), made["scores"])
    parts = [part_of(str(path)) for path in sorted(out.glob("*.parquet"))]
    write_parts(parts, str(out))
    done = manifest.present_manifest(str(out))
    manifest.finish(str(out), done, done.counts, folder_digest(parts))
    with pytest.raises(ClipsieveError, match=message):
        check_drift(str(out), made["scores"])
