"""Which samples a plan holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas import samples
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import to_u64_pairs, uid_bytes
from clipsieve.training.data.plan import plan_samples


def planned_keys(plan):
    keys = []
    for shard, offset, size in zip(plan.shard, plan.offset, plan.size, strict=True):
        with Path(plan.tars[shard]).open("rb") as stream:
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
    assert dict(zip(planned_keys(plan), plan.weights[0].tolist(), strict=True)) == expected


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
