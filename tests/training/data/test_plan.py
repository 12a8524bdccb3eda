"""Which samples a plan holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas import samples, tables
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


def test_every_downloaded_sample_is_planned_at_its_place_in_the_tar(shards, rows):
    plan = plan_samples(shards)
    in_tars = [sample.key for tar in plan.tars for sample in samples.iter_samples(tar)]
    assert planned_keys(plan) == in_tars == [row["key"] for row in rows if row["status"] == "success"]


@pytest.mark.parametrize("write, suffix", [(write_npy, "npy"), (write_parquet, "parquet")])
def test_a_subset_file_chooses_its_uids(shards, rows, tmp_path, write, suffix):
    chosen = [row for row in rows if row["status"] == "success"][::3]
    subset = write(tmp_path / f"subset.{suffix}", [row["uid"] for row in chosen])
    assert planned_keys(plan_samples(shards, (subset,))) == [row["key"] for row in chosen]


def test_uids_without_a_downloaded_sample_are_refused_with_their_count(shards, rows, tmp_path):
    failed = [row["uid"] for row in rows if row["status"] != "success"]
    subset = write_npy(tmp_path / "subset.npy", [rows[0]["uid"], *failed, "00" * 16])
    with pytest.raises(InputError, match=rf"{subset}: 3 uids are of no downloaded sample in .*, the first {'00' * 16}"):
        plan_samples(shards, (subset,))


def test_what_the_opt_out_list_names_is_left_out_and_counted(shards, rows, tmp_path):
    opt_out = tmp_path / "list.txt"
    failed = next(row for row in rows if row["status"] != "success")
    opt_out.write_text(f"{rows[0]['uid']}\n{failed['uid']}\n{rows[9]['url']}\n")
    kept = [row["key"] for row in rows if row["status"] == "success" and row not in (rows[0], rows[9])]
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
    table = tables.read_table(str(path), tables.SHARDS)
    pq.write_table(table.drop_columns(["tar_offset"]), path)
    with pytest.raises(InputError, match=r"00000.parquet: column 'tar_offset' is missing"):
        plan_samples(str(tmp_path))
