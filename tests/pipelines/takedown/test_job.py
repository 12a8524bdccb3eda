"""A takedown leaves nothing of what a list names, leaves all else as it was, and can be stopped anywhere."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.dedup import job as dedup
from clipsieve.pipelines.drift import job as drift
from clipsieve.pipelines.explain import find as explain
from clipsieve.pipelines.filters import job as filters
from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.takedown import job as takedown
from clipsieve.pipelines.takedown.shards import drop_samples
from clipsieve.pipelines.verify import job as verify
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.options import (
    DedupOptions,
    DriftOptions,
    FilterOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
)
from clipsieve.schemas.run import read_run
from clipsieve.schemas.tables import SHARDS
from tests.pipelines.whole_run import BUSY, IN_PROCESS, LISTED, MISSING, PAIRS, Run, sha256_of


@pytest.fixture(scope="module")
def taken(whole_run: Run, tmp_path_factory) -> Run:
    """The run after the takedown; to be read, not changed."""
    run = whole_run.copy(tmp_path_factory.mktemp("taken"))
    run.take_down()
    return run


@pytest.fixture
def a_run(whole_run: Run, tmp_path: Path) -> Run:
    return whole_run.copy(tmp_path)


def files_of(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def rows_of(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def members_of(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def test_the_run_has_what_is_to_be_taken_down(whole_run: Run) -> None:
    """Else the tests below would show nothing: a pair of each kind, in each folder."""
    ends = {row["uid"]: row["error_class"] for row in rows_of(whole_run.folder / "shards")}
    assert {ends[whole_run.uid(row)] for row in (12, 8, 27)} == {None, "http_error"}
    assert len(ends) == PAIRS and len(rows_of(whole_run.folder / "shards")) == PAIRS + len(BUSY)
    for name in (
        "scores",
        "drift",
        "filters",
        "dedup",
        "selection",
        "subsets",
        "samples",
        "resharded/top80",
        "resharded/10",
    ):
        assert whole_run.gone & {row["uid"] for row in rows_of(whole_run.folder / name)}, name
    assert any(row["reject_reason"] for row in rows_of(whole_run.folder / "selection"))


def test_nothing_is_left_of_it(whole_run: Run, taken: Run, encode_image: Callable[[int], bytes]) -> None:
    """No URL, caption, picture or hash of it in any file, but for the input table; its uid in the shards alone."""
    hashes = {row["sha256"] for row in rows_of(whole_run.folder / "shards") if row["uid"] in taken.gone} - {None}
    words = {taken.caption(row) for row in LISTED} | {taken.urls[row] for row in LISTED} | hashes
    originals = [data for shard in "0123" for data in members_of(whole_run.folder / f"shards/0000{shard}.tar").items()]
    keys = {
        row["key"] for row in rows_of(whole_run.folder / "shards") if row["uid"] in taken.gone and row["tar_offset"]
    }
    pictures = [data for name, data in originals if name.endswith(".jpg") and name.partition(".")[0] in keys]
    assert len(pictures) == len(LISTED - MISSING - {27})
    for name, path in files_of(taken.folder).items():
        if name.startswith("pairs/"):
            continue
        data = path.read_bytes()
        text = repr(pq.read_table(path).to_pylist()) if name.endswith(".parquet") else data.decode("latin-1")
        assert not [word for word in words if f"{word}'" in text or f'{word}"' in text or f"{word}<" in text], name
        assert not any(picture in data for picture in pictures), name
        if not name.startswith("shards/"):
            assert not [uid for uid in taken.gone if uid in text], name
    for path in taken.folder.rglob("*.npy"):
        assert not {f"{high:016x}{low:016x}" for high, low in np.load(path).tolist()} & taken.gone


def test_its_rows_stay_as_a_uid_that_opted_out(whole_run: Run, taken: Run) -> None:
    before, after = rows_of(whole_run.folder / "shards"), rows_of(taken.folder / "shards")
    assert [row["uid"] for row in after] == [row["uid"] for row in before]
    for old, new in zip(before, after, strict=True):
        if new["uid"] not in taken.gone:
            assert {**old, "tar_offset": new["tar_offset"]} == new
            continue
        left = {name: value for name, value in new.items() if value is not None}
        was_tried_again = old["http_status"] == 503 and old["key"] < "00003"
        end = (503, "http_error") if was_tried_again else (None, "opted_out")
        assert (new["http_status"], new["error_class"], new["status"]) == (*end, "failed_to_download")
        assert (new["consent"], new["error_message"]) == ("opt_out_list", "taken down")
        kept = {"uid", "key", "status", "error_class", "http_status", "consent", "error_message", "attempts"}
        assert set(left) - {"fetched_at"} <= kept


def test_what_stays_is_byte_for_byte_what_it_was(whole_run: Run, taken: Run) -> None:
    for folder in ("shards", "resharded/top80", "resharded/10"):
        uids = {row["key"]: row["uid"] for row in rows_of(whole_run.folder / folder)}
        if folder != "shards":
            rows = [{**row, "tar_offset": 0} for row in rows_of(taken.folder / folder)]
            kept_rows = [row for row in rows_of(whole_run.folder / folder) if row["uid"] not in taken.gone]
            assert rows == [{**row, "tar_offset": 0} for row in kept_rows]
        for path in sorted((whole_run.folder / folder).glob("*.tar")):
            before = members_of(path)
            kept = {name: data for name, data in before.items() if uids[name.partition(".")[0]] not in taken.gone}
            after = taken.folder / folder / path.name
            assert list(members_of(after).items()) == list(kept.items())
            with after.open("rb") as stream:
                for row in pq.read_table(after.with_suffix(".parquet")).to_pylist():
                    if row["tar_offset"] is not None:
                        stream.seek(row["tar_offset"])
                        with tarfile.open(fileobj=io.BytesIO(stream.read(row["tar_size"]))) as one:
                            assert {name.partition(".")[0] for name in one.getnames()} == {row["key"]}
    for name in ("scores", "drift", "filters", "dedup", "selection"):
        left = [row for row in rows_of(whole_run.folder / name) if row["uid"] not in taken.gone]
        assert rows_of(taken.folder / name) == left
    for path in sorted((taken.folder / "scores").glob("*.npz")):
        uids = pq.read_table(whole_run.folder / "scores" / f"{path.stem}.parquet")["uid"].to_pylist()
        is_kept = np.array([uid not in taken.gone for uid in uids])
        with np.load(whole_run.folder / "scores" / path.name) as old, np.load(path) as new:
            for name in old:
                assert np.array_equal(old[name][is_kept], new[name])


def test_files_that_hold_none_of_it_are_not_touched(whole_run: Run, tmp_path: Path) -> None:
    run = whole_run.copy(tmp_path)
    run.listed = tmp_path / "one.txt"
    run.listed.write_text(whole_run.uid(12))
    before = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files_of(run.folder).items()}
    plan = run.take_down()
    assert plan.touched["shards"] == {"00000": 1} and plan.touched["scores"] == {"00000.parquet": 1}
    changed = {n for n, p in files_of(run.folder).items() if (p.read_bytes(), p.stat().st_mtime_ns) != before[n]}
    own = {"shards/00000.tar", "shards/00000.parquet", "shards/00000_stats.json", "filters/_waterfall.json"}
    own |= {"shards/_manifest/manifest.json", "shards/_manifest/dead_letters.parquet", "scores/00000.npz"}
    own |= {f"{name}/00000.parquet" for name in ("scores", "drift", "filters", "dedup", "selection")}
    own |= {f"{made.name}/manifest.json" for made in read_run(str(run.folder)).with_pairs if made.name != "shards"}
    own |= {f"{name}/_parts.json" for name in plan.touched if name != "shards"}
    of_subsets = {f"{name}/{unit}" for name in ("subsets", "samples") for unit in plan.touched.get(name, ())}
    resharded = {name for name in changed if name.startswith("resharded/")}
    assert changed - resharded == own - resharded | of_subsets
    assert "report/index.html" in before and not (run.folder / "report").exists()


def test_verify_finds_the_run_sound_and_says_what_was_done(taken: Run) -> None:
    checks = {check.what: check.detail for check in verify.run(str(taken.folder), str(taken.listed))}
    downloaded = PAIRS - len(MISSING) - 1
    left = downloaded - len(LISTED - MISSING - {27})
    assert checks["shards"].startswith(f"68 rows = 2 duplicates + {left} downloaded + {PAIRS - left} failed")
    assert checks["pairs"].startswith("68 rows, 66 distinct: each is in the shards once")
    assert "taken down since" in checks["subsets"] and "not there" not in checks["resharded/10"]
    assert "none of their pairs among" in checks["opt-out list"]
    assert checks["takedowns"].endswith(f"{len(LISTED) + 2} rows of the shards are a uid and no more")


def test_the_manifests_record_it(whole_run: Run, taken: Run) -> None:
    before, after = read_run(str(whole_run.folder)).manifests, read_run(str(taken.folder)).manifests
    assert after["shards"].counts.shown["success"] == before["shards"].counts.shown["success"] - 5
    assert after["shards"].counts.shown["error_opted_out"] == len(LISTED)
    for name, made in after.items():
        if name.startswith("models/") or name == "tokenizer":
            assert made == before[name]
            continue
        (record,) = made.takedowns
        assert record.opt_out == sha256_of(taken.listed.read_bytes())
        assert record.counts == before[name].counts and record.digests[0] == before[name].digest
    assert after["selection"].inputs["scores"] == after["scores"].digest
    assert after["selection"].inputs["filters"] == after["filters"].digest
    drifted = after["drift"].counts.shown
    sixths = [row for row in range(0, PAIRS, 6) if row not in MISSING | LISTED]
    assert drifted["pairs"] == after["scores"].counts.shown["pairs"] and drifted["swapped"] == len(sixths)
    assert after["dedup"].counts.shown == {"pairs": after["scores"].counts.shown["pairs"], "kept": 52, "exact": 1}
    assert after["shards"].takedowns[0].pairs == len(LISTED)


def test_the_models_that_learnt_from_it_are_named(whole_run: Run) -> None:
    """Those of a subset, of a mixture (each pair once), and of all pairs; and the tokenizer of their captions."""
    plan = takedown.run(str(whole_run.folder), str(whole_run.listed), dry_run=True)
    top80, top40, sample = (
        set(pq.read_table(whole_run.folder / f"{name}.parquet")["uid"].to_pylist()) & whole_run.gone
        for name in ("subsets/top80", "subsets/top40", "samples/10")
    )
    assert top40 | sample and (top40 & sample or top40 != sample)
    assert plan.models == {
        "tokenizer": 5,
        "models/all": 5,
        "models/mixed": len(top40 | sample),
        "models/top80": len(top80),
    }


def test_a_tokenizer_of_the_input_table_is_named(a_run: Run) -> None:
    """With all listed rows of the table, images or not; one of another table is not."""
    path = a_run.folder / "tokenizer" / "manifest.json"
    content = json.loads(path.read_text())
    pairs = read_run(str(a_run.folder)).manifests["shards"].inputs["pairs"]
    for digest, count in ((pairs, len(LISTED)), ("another", 0)):
        path.write_text(json.dumps(content | {"inputs": {"pairs": digest}}))
        plan = takedown.run(str(a_run.folder), str(a_run.listed), dry_run=True)
        assert plan.models.get("tokenizer", 0) == count


def test_a_dry_run_changes_nothing(whole_run: Run, a_run: Run, command) -> None:
    before = {name: path.read_bytes() for name, path in files_of(a_run.folder).items()}
    ended = command("takedown", a_run.listed, "--run", a_run.folder, "--dry-run")
    assert ended.status == 0 and f"Would take down {len(LISTED)} pairs" in ended.out
    assert {name: path.read_bytes() for name, path in files_of(a_run.folder).items()} == before


def same_but_for_times(one: Path, other: Path) -> None:
    assert list(files_of(one)) == list(files_of(other))
    for name, path in files_of(one).items():
        if name.endswith("manifest.json"):
            texts = [json.dumps(_without_times(json.loads(p.read_bytes()))) for p in (path, files_of(other)[name])]
            assert texts[0] == texts[1], name
        else:
            assert path.read_bytes() == files_of(other)[name].read_bytes(), name


def _without_times(content: object) -> object:
    if isinstance(content, dict):
        return {key: _without_times(value) for key, value in content.items() if not key.endswith("_at")}
    return [_without_times(item) for item in content] if isinstance(content, list) else content


def test_stopped_at_any_write_it_goes_on_to_the_same_end(
    whole_run: Run, taken: Run, tmp_path: Path, monkeypatch
) -> None:
    replace, left = os.replace, [0]

    def failing(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    for stop in range(1, 100, 6):
        run = whole_run.copy(tmp_path / str(stop))
        left[0] = stop
        with suppress(ClipsieveError):
            run.take_down()
        if left[0] <= 0:  # other threads may have written on
            run.take_down()
        same_but_for_times(taken.folder, run.folder)
        if left[0] > 0:
            return
        shutil.rmtree(run.folder)
    pytest.fail("a hundred writes were not enough")


def test_killed_it_refuses_other_work_and_goes_on(taken: Run, a_run: Run, tiny_model: Path, tmp_path: Path) -> None:
    killed = (
        "import os\nfrom clipsieve.pipelines.takedown import job\nreplace, left = os.replace, [14]\n"
        "def kill(source, target):\n    left[0] -= 1\n    os._exit(9) if left[0] == 0 else replace(source, target)\n"
        f"os.replace = kill\njob.run({str(a_run.folder)!r}, {str(a_run.listed)!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", killed], capture_output=True, check=False).returncode == 9
    other = tmp_path / "other.txt"
    other.write_text(a_run.uid(1))
    with pytest.raises(InputError, match="a takedown of another list is half done there"):
        takedown.run(str(a_run.folder), str(other))
    with pytest.raises(InputError, match="shards: a takedown is half done there"):
        options = ScoreOptions(references=(str(tiny_model),))
        score.run(str(a_run.folder / "shards"), str(tmp_path / "scores"), options, IN_PROCESS)
    a_run.take_down()
    same_but_for_times(taken.folder, a_run.folder)


def test_done_twice_it_finds_nothing(taken: Run, tmp_path: Path, command) -> None:
    before = {name: path.read_bytes() for name, path in files_of(taken.folder).items()}
    ended = command("takedown", taken.listed, "--run", taken.folder)
    assert ended.status == 0 and "nothing to take down" in ended.out
    assert {name: path.read_bytes() for name, path in files_of(taken.folder).items()} == before


def test_a_second_list_follows_the_first(taken: Run, tmp_path: Path) -> None:
    run = taken.copy(tmp_path)
    run.listed = tmp_path / "second.txt"
    run.listed.write_text(f"{run.uid(1)}\n{run.uid(5)}\n{run.urls[50]}\n")
    run.take_down()
    verify.run(str(run.folder), str(run.listed))
    made = read_manifest(str(run.folder / "shards"))
    assert made is not None and [record.pairs for record in made.takedowns] == [len(LISTED), 3]


def test_stages_are_done_still(taken: Run, tmp_path: Path, tiny_model: Path) -> None:
    """Each stage, run again with the same recipe, finds its folder complete and its input the recorded one."""
    run = taken.copy(tmp_path)
    before = {name: path.read_bytes() for name, path in files_of(run.folder).items()}
    shards, scores = str(run.folder / "shards"), str(run.folder / "scores")
    score.run(shards, scores, ScoreOptions(references=(str(tiny_model),), embeddings=True), IN_PROCESS)
    dedup.run(shards, scores, str(run.folder / "dedup"), DedupOptions(methods=("exact",)), IN_PROCESS)
    drift.run(shards, str(run.published), str(run.folder / "drift"), DriftOptions(), scores)
    rules = FilterOptions(rules=("short: caption_chars > 30",))
    filters.run(scores, str(run.folder / "filters"), rules, IN_PROCESS, shards)
    cuts = SelectOptions(fractions=(40, 80), sizes=(10, 25), combinations=("top80_12",))
    select.run(
        scores, str(run.folder), cuts, IN_PROCESS, filters=str(run.folder / "filters"), dedup=str(run.folder / "dedup")
    )
    subset, out = str(run.folder / "subsets" / "top80.npy"), str(run.folder / "resharded" / "top80")
    reshard.run(shards, subset, out, ReshardOptions(shard_size=12), IN_PROCESS)
    assert {name: path.read_bytes() for name, path in files_of(run.folder).items()} == before


def test_explain_finds_it_gone(taken: Run) -> None:
    told = explain.run(taken.uid(12), str(taken.folder))
    assert told.verdict == "not downloaded: opted_out (opt_out_list)"
    assert (told.judged, told.members_of, told.resharded, told.image) == ((), (), (), None)


def test_a_wrong_list_or_folder_is_one_line(whole_run: Run, tmp_path: Path, command) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("not a wish!\n")
    for arguments, message in (
        ((wrong, "--run", whole_run.folder), "wrong.txt: line 1: 'not a wish!' is no uid"),
        ((whole_run.listed, "--run", tmp_path), "no folder of a run"),
    ):
        ended = command("takedown", *arguments)
        assert ended.status == 2 and message in ended.err and ended.err.count("\n") == 1


def test_a_folder_that_is_not_finished_is_refused(a_run: Run) -> None:
    path = a_run.folder / "scores" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))
    with pytest.raises(InputError, match="scores: score is not finished there"):
        a_run.take_down()


SAMPLES = st.lists(st.tuples(st.integers(0, 2000), st.booleans()), min_size=1, max_size=12)
"""The size of a sample's members, and whether it goes."""


@settings(max_examples=60)
@given(SAMPLES.filter(lambda samples: any(gone for _, gone in samples)))
def test_a_tar_without_some_samples_is_what_tarfile_reads(tmp_path_factory, samples: list[tuple[int, bool]]) -> None:
    tar = tmp_path_factory.mktemp("tar") / "00000.tar"
    places = []
    with tar.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as opened:
        for number, (size, _) in enumerate(samples):
            start = opened.offset
            for extension in ("jpg", "txt"):
                member = tarfile.TarInfo(f"{number:04d}.{extension}")
                member.size = size
                opened.addfile(member, io.BytesIO(bytes([number]) * size))
            places.append({"key": f"{number:04d}", "tar_offset": start, "tar_size": opened.offset - start})
    table = pa.Table.from_pylist(places, pa.schema([SHARDS.schema.field(name) for name in places[0]]))
    is_gone = np.array([gone for _, gone in samples])
    digest, offsets = drop_samples(str(tar), table, is_gone)
    kept = [number for number, (_, gone) in enumerate(samples) if not gone]
    found = members_of(tar)
    assert list(found) == [f"{number:04d}.{extension}" for number in kept for extension in ("jpg", "txt")]
    assert all(data == bytes([int(name[:4])]) * samples[int(name[:4])][0] for name, data in found.items())
    with tarfile.open(tar) as opened:
        assert offsets[kept].tolist() == [member.offset for member in opened if member.name.endswith(".jpg")]
    assert drop_samples(str(tar), table, is_gone)[0] == digest == xxhash.xxh3_128(tar.read_bytes()).hexdigest()
