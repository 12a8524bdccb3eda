"""The whole job: DataComp's and LAION's formulas, exact fractions, one answer for every split and worker count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.filters import job
from clipsieve.pipelines.filters.job import run
from clipsieve.pipelines.filters.registry import SETS
from clipsieve.pipelines.score.language import identify
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.verify.filters import check_filters
from clipsieve.schemas import manifest
from clipsieve.schemas.counts import FilterCounts
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.options import FilterOptions, SelectOptions
from clipsieve.schemas.run import read_run
from clipsieve.schemas.waterfall import read_waterfall
from tests.pipelines.filters.filter_pool import pair, verdicts, write_pool

IN_PROCESS = ["--runner=FnApiRunner"]
WORDS = ("a", "photograph", "of", "the", "harbour", "ein", "Haus", "am", "See", "IMG_1.jpg", "<b>")


def _rows(count: int = 300) -> list[dict]:
    draw = np.random.default_rng(0)
    return [
        pair(
            number,
            caption=" ".join(draw.choice(WORDS, draw.integers(0, 7))),
            original_width=int(draw.integers(50, 900)),
            original_height=int(draw.integers(50, 900)),
            byte_size=int(draw.integers(1000, 20_000)),
            similarity=float(np.float32(np.round(draw.normal(0.28, 0.05), 2))),
        )
        for number in range(count)
    ]


ROWS = _rows()
OPTIONS = FilterOptions(rules=("basic", "laion", "junk", "best: top(similarity, 33.3)"))


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    scores, shards = write_pool(folder, ROWS)
    run(scores, str(folder / "filters"), OPTIONS, IN_PROCESS, shards)
    return folder


def test_basic_is_datacomps(filtered: Path) -> None:
    found = verdicts(filtered / "filters")
    for row, language in zip(ROWS, identify([row["caption"] for row in ROWS]), strict=True):
        verdict, caption = found[row["uid"]], row["caption"]
        sides = row["original_width"], row["original_height"]
        kept = language == "en" and len(caption.split()) > 2 and len(caption) > 5
        kept = kept and min(sides) >= 200 and max(sides) / min(sides) <= 3.0
        named = [verdict[name] for name in ("not_english", "few_words", "few_chars", "small_image", "oblong_image")]
        assert kept is not any(named)


def test_laion_is_laions(filtered: Path) -> None:
    found = verdicts(filtered / "filters")
    for row, language in zip(ROWS, identify([row["caption"] for row in ROWS]), strict=True):
        verdict = found[row["uid"]]
        named = [verdict[name] for name in ("short_alt", "small_file", "not_english", "low_similarity")]
        similar = np.float32(row["similarity"]) >= np.float32(0.28)
        assert named == [len(row["caption"]) < 5, row["byte_size"] < 5000, language != "en", not similar]


def test_a_fraction_is_exact_and_ties_go_to_the_smaller_uid(filtered: Path) -> None:
    ranked = sorted(ROWS, key=lambda row: (-row["similarity"], row["uid"]))
    best = {row["uid"] for row in ranked[: 300 * 333 // 1000]}
    assert {uid for uid, verdict in verdicts(filtered / "filters").items() if not verdict["best"]} == best


def test_rows_stand_as_in_the_scores_and_the_folder_verifies(filtered: Path) -> None:
    for path in (filtered / "scores").glob("*.parquet"):
        assert pq.read_table(filtered / "filters" / path.name)["uid"].equals(pq.read_table(path)["uid"])
    check = check_filters(str(filtered / "filters"), str(filtered / "scores"))
    assert check.detail.startswith("300 pairs judged by 13 rules")
    found = manifest.read_manifest(str(filtered / "filters"))
    counts = found.counted(FilterCounts) if found else None
    assert counts and counts.pairs == counts.kept + sum(counts.removed.values())


def test_neither_split_nor_workers_matter(filtered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FILES_PER_WORKER", 1)
    scores, shards = write_pool(tmp_path, ROWS, files=5)
    run(scores, str(tmp_path / "filters"), OPTIONS, (), shards)
    assert verdicts(tmp_path / "filters") == verdicts(filtered / "filters")
    assert read_waterfall(str(tmp_path / "filters")) == read_waterfall(str(filtered / "filters"))


def test_order_decides_the_reason_and_not_who_is_kept(filtered: Path, tmp_path: Path) -> None:
    turned = FilterOptions(rules=("low_similarity", "file_name", "basic"))
    run(str(filtered / "scores"), str(tmp_path / "out"), turned, IN_PROCESS, str(filtered / "shards"))
    before, found = verdicts(filtered / "filters"), verdicts(tmp_path / "out").values()
    reasons = list(next(iter(found)))[2:]
    assert reasons == ["low_similarity", "file_name", *SETS["basic"]]
    for row in found:
        assert row["reject_reason"] == next((reason for reason in reasons if row[reason]), None)
        assert {reason: row[reason] for reason in reasons}.items() <= before[row["uid"]].items()


def test_a_stopped_job_goes_on_to_the_same_bytes(filtered: Path, tmp_path: Path) -> None:
    out = tmp_path / "filters"
    scores, shards = str(filtered / "scores"), str(filtered / "shards")
    options = FilterOptions(rules=("few_words", "boilerplate"))
    run(scores, str(out), options, IN_PROCESS, shards)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"}
    (out / "00001.parquet").unlink()
    (out / "_waterfall.json").unlink()
    state = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(state | {"status": "running", "digest": None}))
    done = run(scores, str(out), options, IN_PROCESS, shards)
    assert done.digest == state["digest"]
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"} == before
    with pytest.raises(InputError, match="done with another recipe or input: `rules` was"):
        run(scores, str(out), FilterOptions(rules=("laion",)), IN_PROCESS, shards)


def test_select_keeps_to_the_filters(filtered: Path) -> None:
    options = SelectOptions(fractions=(50,))
    out = str(filtered / "selected")
    done = select.run(str(filtered / "scores"), out, options, IN_PROCESS, filters=str(filtered / "filters"))
    waterfall = read_waterfall(str(filtered / "filters"))
    assert done.counts.shown["eligible"] == waterfall.kept > 1
    assert {rule.reason: done.counts.shown.get(rule.reason, 0) for rule in waterfall.rules} == {
        rule.reason: rule.in_order for rule in waterfall.rules
    }


def test_a_column_that_is_nowhere_leaves_nothing_behind(filtered: Path, tmp_path: Path) -> None:
    options = FilterOptions(rules=("punsafe < 0.1",))
    with pytest.raises(InputError, match="column 'punsafe' is missing"):
        run(str(filtered / "scores"), str(tmp_path / "out"), options, IN_PROCESS, str(filtered / "shards"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_changed_verdicts_are_found(filtered: Path, tmp_path: Path) -> None:
    out = tmp_path / "filters"
    run(str(filtered / "scores"), str(out), FilterOptions(rules=("few_words",)), IN_PROCESS, str(filtered / "shards"))
    waterfall = json.loads((out / "_waterfall.json").read_text())
    waterfall["rules"][0]["only"] += 1
    (out / "_waterfall.json").write_text(json.dumps(waterfall))
    with pytest.raises(ClipsieveError, match=r"_waterfall.json does not count what its files hold"):
        check_filters(str(out), str(filtered / "scores"))


def test_a_recipe_filters_before_it_selects(filtered: Path, tmp_path: Path, command) -> None:
    for name in ("scores", "shards"):
        (tmp_path / name).symlink_to(filtered / name)
    stages = "filter:\n  rules: [few_words, 'weak: similarity >= 0.25']\nselect:\n  fractions: [50]\n"
    (tmp_path / "recipe.yaml").write_text(f"pairs: none.parquet\n{stages}")
    ended = command("run", tmp_path / "recipe.yaml", "--", *IN_PROCESS)
    assert ended.status == 0 and "similarity >= 0.25" in ended.out
    counts = read_run(str(tmp_path)).manifests["selection"].counts.shown
    assert counts["eligible"] == read_waterfall(str(tmp_path / "filters")).kept
    assert {"few_words", "weak"} <= set(counts)


def test_the_command_shows_the_waterfall_and_the_rules(filtered: Path, tmp_path: Path, command) -> None:
    ended = command(
        "filter", "--scores", filtered / "scores", "--shards", filtered / "shards", "--out", tmp_path / "out",
        "--rule", "few_words", "--rule", "strong: similarity >= 0.3", "--", *IN_PROCESS,
    )  # fmt: skip
    waterfall = read_waterfall(str(tmp_path / "out"))
    assert ended.status == 0
    for word in ("few_words", "strong", "similarity >= 0.3", "only this", f"{waterfall.kept} "):
        assert word in ended.out
    listed = command("filter", "--list")
    assert listed.status == 0 and "boilerplate" in listed.out and "aspect_ratio" in listed.out
