"""Which samples a plan holds."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas import samples
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import PlanOptions
from clipsieve.schemas.uid import to_u64_pairs, uid_bytes
from clipsieve.training.data import spill
from clipsieve.training.data.plan import plan_samples, run
from clipsieve.training.data.plan_file import open_plan, read_header
from clipsieve.training.data.tars import cut_tars


def planned_keys(plan):
    keys = []
    for tar, offset, size in plan.ranges(range(len(plan))):
        with Path(tar).open("rb") as stream:
            stream.seek(offset)
            (sample,) = samples.parse_samples(stream.read(size), "range")
        keys.append(sample.key)
    return keys


def write_npy(path, uids):
    pairs = to_u64_pairs(uid_bytes(pa.array(uids)))
    np.save(path, np.sort(pairs))
    return str(path)


def write_parquet(path, uids):
    pq.write_table(pa.table({"uid": uids}), path)
    return str(path)


def keys_by_uid(rows):
    return [row["key"] for row in sorted(rows, key=lambda row: row["uid"])]


def test_every_downloaded_sample_is_planned_at_its_place_in_the_tar_by_uid(shards, rows):
    plan = plan_samples(shards)
    assert planned_keys(plan) == keys_by_uid(row for row in rows if row["status"] == "success")
    assert sorted(planned_keys(plan)) == sorted(sample.key for tar in plan.tars for sample in samples.iter_samples(tar))


@pytest.mark.parametrize("write, suffix", [(write_npy, "npy"), (write_parquet, "parquet")])
def test_a_subset_file_chooses_its_uids(shards, rows, tmp_path, write, suffix):
    chosen = [row for row in rows if row["status"] == "success"][::3]
    subset = write(tmp_path / f"subset.{suffix}", [row["uid"] for row in chosen])
    assert planned_keys(plan_samples(shards, (subset,))) == keys_by_uid(chosen)


@pytest.mark.parametrize("kind", ["npy with repeats", "column weight", "column weight of floats", "txt"])
def test_a_pair_is_as_heavy_as_its_subset_file_says(shards, rows, tmp_path, kind):
    chosen = [row for row in rows if row["status"] == "success"][:6]
    uids, weights = [row["uid"] for row in chosen], [1, 2, 3, 0, 1, 4]
    repeated = [uid for uid, weight in zip(uids, weights, strict=True) for _ in range(weight)]
    if kind.startswith("column"):
        subset = str(tmp_path / "subset.parquet")
        column = pa.array(weights, pa.float32() if "floats" in kind else pa.int32())
        pq.write_table(pa.table({"uid": uids, "weight": column}), subset)
    elif kind == "txt":
        subset = str(tmp_path / "subset.txt")
        Path(subset).write_text("".join(f"{uid}\n" for uid in repeated))
    else:
        subset = write_npy(tmp_path / "subset.npy", repeated)
    plan = plan_samples(shards, (subset,))
    expected = {row["key"]: weight for row, weight in zip(chosen, weights, strict=True) if weight}
    planned = plan.weights(0)
    assert planned is not None
    assert dict(zip(planned_keys(plan), planned.tolist(), strict=True)) == expected


@pytest.mark.parametrize("weight", [1.5, -1, None, "heavy"])
def test_what_is_no_weight_is_refused(shards, rows, tmp_path, weight):
    path = tmp_path / "subset.parquet"
    pq.write_table(pa.table({"uid": [rows[0]["uid"]], "weight": pa.array([weight])}), path)
    with pytest.raises(InputError, match=r"subset.parquet: column 'weight' does not say how often each pair stands"):
        plan_samples(shards, (str(path),))


def test_missing_members_are_allowed_and_counted(shards, rows, tmp_path):
    failed = [row["uid"] for row in rows if row["status"] != "success"]
    there = [row for row in rows if row["status"] == "success"][:9]
    subset = write_npy(tmp_path / "subset.npy", [*(row["uid"] for row in there), *failed, "00" * 16, "ff" * 16])
    plan = plan_samples(shards, (subset,), allow_missing=True)
    assert planned_keys(plan) == keys_by_uid(there)
    assert plan.missing == (len(failed) + 2,)
    nothing = write_npy(tmp_path / "nothing.npy", ["00" * 16])
    with pytest.raises(InputError, match=r"nothing.npy: no sample of it is left to train on"):
        plan_samples(shards, (nothing,), allow_missing=True)


def test_uids_that_share_their_first_half_are_told_apart(shards, rows, tmp_path):
    there = next(row["uid"] for row in rows if row["status"] == "success")
    others = [there[:16] + f"{number:016x}" for number in (0, 1, 2**63, 2**64 - 1)]
    subset = write_npy(tmp_path / "subset.npy", [there, *others])
    assert plan_samples(shards, (subset,), allow_missing=True).missing == (4,)
    without = write_npy(tmp_path / "without.npy", others)
    with pytest.raises(InputError, match="4 uids are of no downloaded sample"):
        plan_samples(shards, (without,))


def test_uids_without_a_downloaded_sample_are_refused_with_their_count(shards, rows, tmp_path):
    failed = [row["uid"] for row in rows if row["status"] != "success"]
    subset = write_npy(tmp_path / "subset.npy", [rows[0]["uid"], *failed, "00" * 16])
    with pytest.raises(
        InputError, match=rf"{subset}: 3 uids are of no downloaded sample in .*, the first {'00' * 16}; `"
    ):
        plan_samples(shards, (subset,))


def test_what_the_opt_out_list_names_is_left_out_and_counted(shards, rows, tmp_path):
    opt_out = tmp_path / "list.txt"
    failed = next(row for row in rows if row["status"] != "success")
    opt_out.write_text(f"{rows[0]['uid']}\n{failed['uid']}\n{rows[9]['url']}\n")
    kept = keys_by_uid(row for row in rows if row["status"] == "success" and row not in (rows[0], rows[9]))
    plan = plan_samples(shards, (), str(opt_out))
    assert (planned_keys(plan), plan.opted_out) == (kept, 2)
    subset = write_npy(tmp_path / "subset.npy", [rows[0]["uid"], rows[1]["uid"]])
    plan = plan_samples(shards, (subset,), str(opt_out))
    assert (planned_keys(plan), plan.opted_out) == ([rows[1]["key"]], 1)
    opt_out = tmp_path / "domain.txt"
    opt_out.write_text("example.org\n")
    assert len(plan_samples(shards, (), str(opt_out))) == 0


def test_shards_without_offsets_are_refused(shards, tmp_path):
    for suffix in ("tar", "parquet"):
        shutil.copy(f"{shards}/00000.{suffix}", tmp_path)
    (tmp_path / "00000_stats.json").write_text("{}")
    path = tmp_path / "00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["tar_offset"]), path)
    with pytest.raises(InputError, match=r"00000.parquet: does not say where the samples are.*clipsieve index"):
        plan_samples(str(tmp_path))


def copy_of(shards, folder):
    return shutil.copytree(shards, folder)


def rewrite(path, column, change):
    table = pq.read_table(path)
    values = change(table[column].to_pylist())
    place, field = table.column_names.index(column), table.field(column)
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)


@pytest.mark.parametrize("order", ["global", "window"])
def test_a_uid_of_two_samples_is_refused(shards, tmp_path, order):
    folder = copy_of(shards, tmp_path / "shards")
    uid = pq.read_table(folder / "00000.parquet")["uid"][0].as_py()
    rewrite(folder / "00002.parquet", "uid", lambda uids: [uid, *uids[1:]])
    with pytest.raises(InputError, match=f"shards: 1 samples have the uid of another, the first {uid}"):
        run(str(folder), (), str(tmp_path / "plan"), PlanOptions(order=order))
    assert read_header(str(tmp_path / "plan")) is None


@pytest.mark.parametrize("column, value", [("tar_offset", 513), ("tar_offset", -512), ("tar_size", 0), ("tar_size", 1)])
def test_a_place_that_is_none_of_a_tar_is_refused(shards, tmp_path, column, value):
    folder = copy_of(shards, tmp_path / "shards")
    rewrite(folder / "00001.parquet", column, lambda values: [value, *values[1:]])
    with pytest.raises(InputError, match=rf"00001.parquet: {column} {value} is not one of a tar"):
        plan_samples(str(folder))


def test_the_samples_of_a_windowed_plan_stand_by_shard(shards, rows, tmp_path):
    chosen = [row for row in rows if row["status"] == "success"][5:40]
    subsets = [
        write_npy(tmp_path / f"{number}.npy", [row["uid"] for row in part])
        for number, part in enumerate((chosen[:20], chosen[10:]))
    ]
    run(shards, subsets, str(tmp_path / "plan"), PlanOptions(order="window"))
    plan = open_plan(str(tmp_path / "plan"), shards)
    in_order = sorted(chosen, key=lambda row: (row["key"][:5], row["uid"]))
    assert planned_keys(plan) == [row["key"] for row in in_order]
    assert plan.uids(range(len(plan))) == [row["uid"] for row in in_order]
    for number, part in enumerate((chosen[:20], chosen[10:])):
        members = [in_order[index] for index in plan.members(number, np.arange(plan.count(number)))]
        assert sorted(row["key"] for row in members) == sorted(row["key"] for row in part)
        counts = np.bincount([int(row["key"][:5]) for row in part], minlength=3)
        assert plan.bounds(number).tolist() == [0, *np.cumsum(counts)]


def test_a_plan_that_was_spilled_is_the_plan(shards, tmp_path, monkeypatch):
    whole = run(shards, (), str(tmp_path / "whole"), PlanOptions())
    monkeypatch.setattr(spill, "_HELD_BYTES", 1)
    assert run(shards, (), str(tmp_path / "spilled"), PlanOptions()) == whole
    for name in ("rows", "uids"):
        assert (tmp_path / f"whole/{name}.npy").read_bytes() == (tmp_path / f"spilled/{name}.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "spilled").iterdir()) == ["plan.json", "rows.npy", "uids.npy"]


def test_a_plan_in_another_process_is_the_same_files(shards, tmp_path):
    run(shards, (), str(tmp_path / "plan"), PlanOptions())
    plan = open_plan(str(tmp_path / "plan"), shards)
    pickled = pickle.dumps(plan)
    assert b"S16" not in pickled and len(pickled) < 2000 + len(shards) * len(plan.tars) * 2
    again = pickle.loads(pickled)
    assert isinstance(again.rows, np.memmap)
    assert again.ranges(range(len(plan))) == plan.ranges(range(len(plan)))


def test_a_plan_is_made_once_and_again_for_other_inputs(shards, rows, tmp_path):
    out = tmp_path / "plan"
    out.mkdir()
    (out / "notes.txt").write_text("of somebody")
    first = run(shards, (), str(out), PlanOptions())
    made = (out / "rows.npy").stat().st_mtime_ns
    assert run(shards, (), str(out), PlanOptions()) == first and (out / "rows.npy").stat().st_mtime_ns == made
    subset = write_npy(tmp_path / "subset.npy", [rows[0]["uid"]])
    assert run(shards, (subset,), str(out), PlanOptions()).rows == 1
    assert (out / "notes.txt").read_text() == "of somebody"
    with pytest.raises(InputError, match="memory://plan: a plan is mapped into memory; choose a local folder"):
        run(shards, (), "memory://plan", PlanOptions())


def test_a_lost_tar_is_missing_and_a_cut_one_is_told(shards, tmp_path):
    folder = copy_of(shards, tmp_path / "shards")
    plan = plan_samples(str(folder))
    assert cut_tars(plan) == []
    size = (folder / "00001.tar").stat().st_size
    with (folder / "00001.tar").open("r+b") as tar:
        tar.truncate(size // 2)
    (line,) = cut_tars(plan)
    assert line.startswith(f"{folder}/00001.tar: cut at byte {size // 2:,}; its last sample ends at byte ")
    for name in ("00000", "00002"):
        (folder / f"{name}.tar").unlink()
    with pytest.raises(InputError, match=r"00000.tar: this tar of the plan is missing, and 1 others; restore the tars"):
        cut_tars(plan)
