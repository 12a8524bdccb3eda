"""Each stage leaves out what the opt-out list names, counts it, and knows when uids alone do not tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.verify import job as verify
from clipsieve.pipelines.verify.scores import check_scores
from clipsieve.pipelines.verify.selection import check_samples, check_selection
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.members import as_raw, read_members
from clipsieve.schemas.options import ReshardOptions, ScoreOptions, SelectOptions
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import to_u64_pairs, uid_bytes, uid_strings

IN_PROCESS = ["--runner=FnApiRunner"]
SIZES = [9, 8, 7]


@pytest.fixture
def run_dir(make_shards: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with the shards of 24 pairs, https://example.org/0.jpg and so on, of which one failed."""
    make_shards(SIZES, failed=[2])
    return tmp_path


@pytest.fixture
def uids(run_dir: Path) -> list[str]:
    """All pairs' uids, in order."""
    return [
        uid for path in sorted((run_dir / "shards").glob("*.parquet")) for uid in pq.read_table(path)["uid"].to_pylist()
    ]


def write_list(run_dir: Path, *entries: str) -> str:
    path = run_dir / f"list{len(entries)}.txt"
    path.write_text("".join(f"{entry}\n" for entry in entries))
    return str(path)


def score_run(run_dir: Path, model: Path, opt_out: str | None, out: str = "scores") -> manifest.Manifest:
    options = ScoreOptions(references=(str(model),), embeddings=True)
    return score.run(str(run_dir / "shards"), str(run_dir / out), options, IN_PROCESS, opt_out)


def scored_uids(folder: Path) -> list[str]:
    return [uid for path in sorted(folder.glob("*.parquet")) for uid in pq.read_table(path)["uid"].to_pylist()]


def write_scores(folder: Path, uids: list[str]) -> Path:
    folder.mkdir()
    similarity = np.linspace(0.1, 0.3, len(uids)).astype(np.float32)
    pq.write_table(pa.table({"uid": uids, "similarity": similarity}), folder / "00000.parquet")
    return folder


def test_score_leaves_listed_pairs_out_and_counts_them(run_dir: Path, uids: list[str], tiny_model: Path) -> None:
    opt_out = write_list(run_dir, uids[0], uids[2], "http://EXAMPLE.org/20.jpg")
    done = score_run(run_dir, tiny_model, opt_out)
    assert done.counts.shown == {"pairs": 21, "shards": 3, "opted_out": 2}
    assert scored_uids(run_dir / "scores") == [uid for row, uid in enumerate(uids) if row not in (0, 2, 20)]
    assert np.load(run_dir / "scores" / "00000.npz")["img"].shape == (7, 16)
    everything = score_run(run_dir, tiny_model, None, "all")
    assert everything.counts.shown == {"pairs": 23, "shards": 3}
    of_all = {row["uid"]: row["similarity"] for p in (run_dir / "all").glob("*.parquet") for row in _rows(p)}
    for path in (run_dir / "scores").glob("*.parquet"):
        for row in _rows(path):
            assert row["similarity"] == pytest.approx(of_all[row["uid"]], abs=1e-5)


def _rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_a_domain_may_leave_nothing(run_dir: Path, tiny_model: Path) -> None:
    done = score_run(run_dir, tiny_model, write_list(run_dir, "example.org"))
    assert done.counts.shown == {"pairs": 0, "shards": 3, "opted_out": 23}


def test_another_list_on_a_folder_is_refused(run_dir: Path, uids: list[str], tiny_model: Path) -> None:
    score_run(run_dir, tiny_model, write_list(run_dir, uids[0]))
    with pytest.raises(InputError, match=r"`opt_out` was '[0-9a-f]{64}', now '[0-9a-f]{64}'"):
        score_run(run_dir, tiny_model, write_list(run_dir, uids[0], uids[1]))
    with pytest.raises(InputError, match=r"`opt_out` was '[0-9a-f]{64}', now None"):
        score_run(run_dir, tiny_model, None)


def test_select_rejects_listed_uids_and_cuts_as_if_they_were_not_there(run_dir: Path, uids: list[str]) -> None:
    listed, kept = uids[1::5], [uid for row, uid in enumerate(uids) if row % 5 != 1]  # the worst stand first
    options = SelectOptions(fractions=(40,), sizes=(10,), seed=3)
    scores = write_scores(run_dir / "scores", uids)
    done = select.run(str(scores), str(run_dir), options, IN_PROCESS, write_list(run_dir, *listed))
    assert done.counts.shown == {"pairs": 24, "eligible": 19, "opted_out": 5}
    rows = tables.read_table(str(run_dir / "selection" / "00000.parquet"), tables.SELECTION).to_pylist()
    assert [row["uid"] for row in rows] == uids
    for row in rows:
        is_listed = row["uid"] in listed
        assert row["reject_reason"] == ("opted_out" if is_listed else None)
        assert (row["quantile_rank"] is None) == is_listed
    best = pq.read_table(run_dir / "subsets" / "top40.parquet")
    assert best["uid"].to_pylist() == kept[-7:]
    assert max(best["quantile_rank"].to_pylist()) < 7 / 19
    _, ranked = check_selection(str(run_dir / "selection"), str(scores))
    assert uid_strings(as_raw(ranked.uids)) == kept[::-1]
    check_samples(str(run_dir / "samples"), ranked)


def test_select_with_nothing_left(run_dir: Path, uids: list[str]) -> None:
    scores = write_scores(run_dir / "scores", uids)
    opt_out = write_list(run_dir, *uids)
    done = select.run(str(scores), str(run_dir), SelectOptions(fractions=(20,)), IN_PROCESS, opt_out)
    assert done.counts.shown == {"pairs": 24, "eligible": 0, "opted_out": 24}
    assert len(read_members(str(run_dir / "subsets" / "top20.npy"))) == 0
    with pytest.raises(InputError, match="a sample of 5 pairs cannot be drawn from 0 eligible pairs"):
        select.run(str(scores), str(run_dir / "other"), SelectOptions(sizes=(5,)), IN_PROCESS, opt_out)


def test_select_wants_scores_made_with_a_list_of_places(run_dir: Path, uids: list[str], tiny_model: Path) -> None:
    opt_out = write_list(run_dir, "https://example.org/7.jpg")
    scores = write_scores(run_dir / "foreign", uids)
    with pytest.raises(InputError, match=r"list1\.txt: it lists URLs or domains.*run score"):
        select.run(str(scores), str(run_dir), SelectOptions(), IN_PROCESS, opt_out)
    assert not (run_dir / "selection").exists()
    score_run(run_dir, tiny_model, opt_out)
    done = select.run(str(run_dir / "scores"), str(run_dir), SelectOptions(), IN_PROCESS, opt_out)
    assert done.counts.shown == {"pairs": 22, "eligible": 22, "opted_out": 0}


def test_reshard_leaves_listed_members_out(run_dir: Path, uids: list[str]) -> None:
    subset, out = run_dir / "subset.npy", run_dir / "out"
    members = [uids[row] for row in (1, 5, 9, 10, 20)]
    np.save(subset, np.sort(to_u64_pairs(uid_bytes(pa.array(members)))))
    shards, options = str(run_dir / "shards"), ReshardOptions(shard_size=2)
    opt_out = write_list(run_dir, uids[9], uids[3])
    done = reshard.run(shards, str(subset), str(out), options, IN_PROCESS, opt_out)
    assert done.counts.shown == {"pairs": 4, "shards": 2, "opted_out": 1}
    tars = [str(out / f"{name}.tar") for name in list_shards(str(out))]
    written = {sample.metadata["uid"] for tar in tars for sample in iter_samples(tar)}
    assert written == set(members) - {uids[9]}
    with pytest.raises(InputError, match="the subset is opted out as a whole"):
        reshard.run(shards, str(subset), str(run_dir / "none"), options, IN_PROCESS, write_list(run_dir, *members))
    with pytest.raises(InputError, match=r"it lists URLs or domains.*run score"):
        reshard.run(shards, str(subset), str(run_dir / "none"), options, IN_PROCESS, write_list(run_dir, "a.org"))


@pytest.fixture
def sound_run(run_dir: Path, uids: list[str], tiny_model: Path) -> tuple[Path, str]:
    """All stages from score on with a list, and that list."""
    opt_out = write_list(run_dir, uids[0], "https://example.org/21.jpg")
    score_run(run_dir, tiny_model, opt_out)
    select.run(str(run_dir / "scores"), str(run_dir), SelectOptions(fractions=(50,)), IN_PROCESS, opt_out)
    subset, out = str(run_dir / "subsets" / "top50.npy"), str(run_dir / "resharded" / "top50")
    reshard.run(str(run_dir / "shards"), subset, out, ReshardOptions(shard_size=4), IN_PROCESS, opt_out)
    return run_dir, opt_out


def test_verify_says_what_was_made_with_a_list_and_finds_what_it_names(sound_run: tuple[Path, str]) -> None:
    run_dir, opt_out = sound_run
    (run_dir / "shards").rename(run_dir / "older")  # they were made before the list, and hold what it names
    details = {check.what: check.detail for check in verify.run(str(run_dir))}
    assert details["opt-out list"].startswith("not given")
    assert all(name in details["opt-out list"] for name in ("scores", "selection", "subsets", "resharded/top50"))
    (held,) = [check.detail for check in verify.run(str(run_dir), opt_out) if check.what == "opt-out list"]
    assert held.startswith("1 uids, 1 URLs, 0 domains; none of their pairs among ")
    member = uid_strings(as_raw(read_members(str(run_dir / "subsets" / "top50.npy"))[:1]))[0]
    with pytest.raises(ClipsieveError, match=rf"resharded/top50/0000\d\.parquet: holds 1 pairs .*uid {member}"):
        verify.run(str(run_dir), write_list(run_dir, member))


def test_verify_finds_a_wrong_count_of_left_out_pairs(run_dir: Path, uids: list[str], tiny_model: Path) -> None:
    score_run(run_dir, tiny_model, write_list(run_dir, uids[0], uids[1]))
    check_scores(str(run_dir / "scores"), str(run_dir / "shards"))
    path = run_dir / "scores" / "manifest.json"
    content = json.loads(path.read_text())
    assert content["counts"]["opted_out"] == 2
    content["counts"]["opted_out"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ClipsieveError, match="2 downloaded pairs are not scored, its manifest counts 1 opted out"):
        check_scores(str(run_dir / "scores"), str(run_dir / "shards"))
