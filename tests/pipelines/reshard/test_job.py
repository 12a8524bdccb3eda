"""Resharded samples are the source's bytes, exactly the subset's, in an order that the seed decides."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from clipsieve.pipelines.reshard import job as reshard
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import ReshardOptions
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import UID_U64_PAIR

IN_PROCESS = ["--runner=FnApiRunner"]


def uids_of(folder: Path) -> list[str]:
    """Uids of the samples in a folder's tars, in order, as their json members say."""
    return [s.metadata["uid"] for name in list_shards(str(folder)) for s in iter_samples(str(folder / f"{name}.tar"))]


def write_npy(uids: list[str], path: Path) -> Path:
    np.save(path, np.sort(np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids], UID_U64_PAIR)))
    return path


def members_by_uid(folder: Path) -> dict[str, dict[str, bytes]]:
    samples = (s for name in list_shards(str(folder)) for s in iter_samples(str(folder / f"{name}.tar")))
    return {sample.metadata["uid"]: sample.members for sample in samples}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


@pytest.mark.parametrize("foreign", [False, True])
def test_samples_are_copied_byte_for_byte(make_shards: Callable, tmp_path: Path, foreign: bool) -> None:
    shards, out = make_shards([9, 8, 7], failed=[2, 11]), tmp_path / "out"
    wanted = sorted(uids_of(shards))[::2]
    subset = write_npy(wanted, tmp_path / "subset.npy")
    if foreign:
        for path in shards.glob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(["uid", "tar_offset", "tar_size"]), path)
    manifest = reshard.run(str(shards), str(subset), str(out), ReshardOptions(shard_size=4), IN_PROCESS)
    assert manifest.counts.shown == {"pairs": 11, "shards": 3}
    source, copied = members_by_uid(shards), members_by_uid(out)
    assert copied == {uid: source[uid] for uid in wanted}
    for name, size in (("00000", 4), ("00001", 4), ("00002", 3)):
        samples = list(iter_samples(str(out / f"{name}.tar")))
        rows = pq.read_table(out / f"{name}.parquet").to_pylist()
        assert [(row["uid"], row["key"], row["tar_offset"], row["tar_size"]) for row in rows] == [
            (sample.metadata["uid"], sample.key, sample.offset, sample.size) for sample in samples
        ]
        assert len(rows) == size == json.loads((out / f"{name}_stats.json").read_text())["successes"]


def test_the_order_is_seeded_and_whole(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([15, 15])
    subset = write_npy(sorted(uids_of(shards)), tmp_path / "subset.npy")
    orders = {}
    for name, size, seed in (("a", 7, 0), ("b", 10, 0), ("c", 7, 1)):
        reshard.run(
            str(shards),
            str(subset),
            str(tmp_path / name),
            ReshardOptions(shard_size=size, seed=seed),
            IN_PROCESS,
        )
        orders[name] = uids_of(tmp_path / name)
    assert orders["a"] == orders["b"] != orders["c"]
    assert orders["a"] != uids_of(shards) and sorted(orders["c"]) == sorted(uids_of(shards))


def test_webdataset_open_clip_and_datacomp_read_it(make_shards: Callable, tmp_path: Path) -> None:
    shards, out = make_shards([6]), tmp_path / "out"
    subset = write_npy(sorted(uids_of(shards))[:5], tmp_path / "subset.npy")
    reshard.run(str(shards), str(subset), str(out), ReshardOptions(shard_size=3), IN_PROCESS)
    meta = json.loads((out / "meta.json").read_text())
    urls = [str(out / meta["output_shard_format"].format(index)) for index in range(meta["output_shard_count"])]
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [json_["uid"] for json_ in (sample["json"] for sample in read)] == uids_of(out)
    assert all(sample["jpg"].size == (24, 24) and sample["txt"] == sample["json"]["caption"] for sample in read)
    assert json.loads((out / "sizes.json").read_text()) == {"00000.tar": 3, "00001.tar": 2}


def test_subset_files_of_every_kind_give_the_same_shards(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([6, 6])
    uids = sorted(uids_of(shards))[3:9]
    kinds = [tmp_path / name for name in ("sorted.npy", "headerless.npy", "table.parquet", "list.txt")]
    np.load(write_npy(uids, kinds[0])).tofile(kinds[1])
    pq.write_table(pa.table({"uid": uids[::-1]}), kinds[2])
    kinds[3].write_text("".join(f"{uid}\n" for uid in uids[2:] + uids[:2]))
    for kind in kinds:
        reshard.run(str(shards), str(kind), str(tmp_path / kind.stem), ReshardOptions(shard_size=4), IN_PROCESS)
        assert contents(tmp_path / kind.stem) == contents(tmp_path / "sorted")


def test_a_stopped_job_goes_on_to_the_same_bytes(make_shards: Callable, tmp_path: Path) -> None:
    shards, out, whole = make_shards([6, 6]), tmp_path / "out", tmp_path / "whole"
    subset = write_npy(sorted(uids_of(shards)), tmp_path / "subset.npy")
    for folder in (whole, out):
        reshard.run(str(shards), str(subset), str(folder), ReshardOptions(shard_size=5), IN_PROCESS)
    (out / "00001_stats.json").unlink()
    (out / "00001.tar").write_bytes(b"half")
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    kept = (out / "00000.tar").stat().st_mtime_ns
    reshard.run(str(shards), str(subset), str(out), ReshardOptions(shard_size=5), IN_PROCESS)
    assert contents(out) == contents(whole) and (out / "00000.tar").stat().st_mtime_ns == kept


def test_missing_members_are_counted_and_named(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([6])
    subset = write_npy([*uids_of(shards)[:2], "0" * 31 + "1", "f" * 32], tmp_path / "subset.npy")
    with pytest.raises(InputError, match=f"2 uids of the subset are missing from the shards, the first {'0' * 31}1"):
        reshard.run(str(shards), str(subset), str(tmp_path / "out"), ReshardOptions(), IN_PROCESS)
    assert not list((tmp_path / "out").glob("*.tar"))


def test_a_uid_in_two_shards_is_refused(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([4])
    for suffix in (".tar", ".parquet", "_stats.json"):
        (shards / f"00001{suffix}").write_bytes((shards / f"00000{suffix}").read_bytes())
    uid = uids_of(shards)[0]
    subset = write_npy([uid], tmp_path / "subset.npy")
    with pytest.raises(InputError, match=f"1 uids of the subset are duplicated in the shards, the first {uid}"):
        reshard.run(str(shards), str(subset), str(tmp_path / "out"), ReshardOptions(), IN_PROCESS)


def test_wrong_offsets_are_refused(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([3])
    table = pq.read_table(shards / "00000.parquet")
    shifted = pa.array([offset + 512 for offset in table["tar_offset"].to_pylist()])
    pq.write_table(
        table.set_column(table.schema.get_field_index("tar_offset"), "tar_offset", shifted),
        shards / "00000.parquet",
    )
    subset = write_npy(uids_of(shards), tmp_path / "subset.npy")
    with pytest.raises(InputError, match=r"00000\.tar: no sample 00000000\d at byte \d+"):
        reshard.run(str(shards), str(subset), str(tmp_path / "out"), ReshardOptions(), IN_PROCESS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"x" * 17, "nor a multiple of 16 bytes"), (b"", "is empty"), (b"a" * 16 + bytes(16), "not sorted: 1 of its 2")],
)
def test_what_is_no_subset_is_refused(make_shards: Callable, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "subset.npy").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        reshard.run(
            str(make_shards([1])),
            str(tmp_path / "subset.npy"),
            str(tmp_path / "out"),
            ReshardOptions(),
            IN_PROCESS,
        )


def with_tar_only(shards: Path) -> None:
    """As DataComp's resharder leaves a folder: tars and stats, eight digits, no Parquet."""
    for path in shards.glob("*.parquet"):
        path.unlink()
    for path in list(shards.iterdir()):
        path.rename(shards / f"000{path.name}")


def datacomp_looks_up(members: np.ndarray, uid: str) -> int:
    """How often DataComp's resharder writes a sample: it bisects the sorted pairs from both sides."""
    key = np.array([divmod(int(uid, 16), 2**64)], UID_U64_PAIR)[0]
    return int(np.searchsorted(members, key, "right") - np.searchsorted(members, key, "left"))


@pytest.mark.parametrize("tar_only", [False, True])
def test_a_member_is_written_as_often_as_it_stands(make_shards: Callable, tmp_path: Path, tar_only: bool) -> None:
    shards, out = make_shards([6, 6]), tmp_path / "out"
    if tar_only:
        with_tar_only(shards)
    uids = sorted(uids_of(shards))
    subset = write_npy([*uids[:5], *uids[2:4], uids[2]], tmp_path / "subset.npy")
    done = reshard.run(str(shards), str(subset), str(out), ReshardOptions(shard_size=3), IN_PROCESS)
    assert done.counts.shown == {"pairs": 8, "shards": 3}
    written, source = uids_of(out), members_by_uid(shards)
    assert {uid: written.count(uid) for uid in uids} == {uid: datacomp_looks_up(np.load(subset), uid) for uid in uids}
    samples = [s for name in list_shards(str(out)) for s in iter_samples(str(out / f"{name}.tar"))]
    assert len({sample.key for sample in samples}) == 8
    assert all(sample.members == source[sample.metadata["uid"]] for sample in samples)
    triple = sorted(sample.key for sample in samples if sample.metadata["uid"] == uids[2])
    assert triple == [triple[0], f"{triple[0]}-1", f"{triple[0]}-2"]
    read = list(webdataset.WebDataset([str(out / f"{n:05d}.tar") for n in range(3)], shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [sample.key for sample in samples]


def test_what_was_resharded_can_be_again(make_shards: Callable, tmp_path: Path) -> None:
    """Further copies have keys with a dash, as all have that DataComp's resharder writes."""
    shards, first, second = make_shards([5]), tmp_path / "first", tmp_path / "second"
    uids = sorted(uids_of(shards))
    with tarfile.open(shards / "00000.tar") as source, tarfile.open(tmp_path / "renamed.tar", "w") as tar:
        for member in source.getmembers():
            data = source.extractfile(member)
            member.name = f"{uids[int(member.name[5:9])]}-0.{member.name.split('.')[1]}"
            member.mtime = 1234.5  # which makes a pax header, as with webdataset's writer
            tar.addfile(member, data)
    (tmp_path / "renamed.tar").replace(shards / "00000.tar")
    with_tar_only(shards)
    subset = write_npy([*uids, uids[0]], tmp_path / "subset.npy")
    reshard.run(str(shards), str(subset), str(first), ReshardOptions(), IN_PROCESS)
    assert {sample.key[32:] for sample in iter_samples(str(first / "00000.tar"))} == {"-0", "-0-1"}
    with pytest.raises(InputError, match="1 uids of the subset are duplicated in the shards"):
        reshard.run(str(first), str(subset), str(second), ReshardOptions(), IN_PROCESS)


def test_missing_members_are_left_out_and_counted_where_they_may(make_shards: Callable, tmp_path: Path) -> None:
    """Shards that lose all their members leave no gap in the names."""
    shards, out = make_shards([8]), tmp_path / "out"
    there = uids_of(shards)
    gone = [f"{number:032x}" for number in range(16)]
    subset = write_npy([*there, there[3], *gone], tmp_path / "subset.npy")
    options = ReshardOptions(shard_size=1, allow_missing=True)
    done = reshard.run(str(shards), str(subset), str(out), options, IN_PROCESS)
    assert done.counts.shown == {"pairs": 9, "shards": 9, "missing": 16}
    assert list_shards(str(out)) == [f"{number:05d}" for number in range(9)]
    assert json.loads((out / "meta.json").read_text())["output_shard_count"] == 9
    assert sorted(uids_of(out)) == sorted([*there, there[3]])
    only_gone = write_npy(gone, tmp_path / "gone.npy")
    with pytest.raises(InputError, match="16 uids of the subset are missing"):
        reshard.run(str(shards), str(only_gone), str(tmp_path / "none"), options, IN_PROCESS)


def test_a_uid_in_two_shards_is_refused_where_members_may_be_missing(make_shards: Callable, tmp_path: Path) -> None:
    shards = make_shards([4])
    for suffix in (".tar", ".parquet", "_stats.json"):
        (shards / f"00001{suffix}").write_bytes((shards / f"00000{suffix}").read_bytes())
    subset = write_npy([*uids_of(shards)[:1], *(f"{number:032x}" for number in range(9))], tmp_path / "subset.npy")
    options = ReshardOptions(allow_missing=True)
    with pytest.raises(InputError, match=r"uid [0-9a-f]{32} stands in the shards twice, in 0000\d and 0000\d"):
        reshard.run(str(shards), str(subset), str(tmp_path / "out"), options, IN_PROCESS)


def test_a_tar_without_parquet_must_name_its_uids(
    make_shards: Callable, write_tar: Callable, encode_image: Callable, tmp_path: Path
) -> None:
    shards = make_shards([1])
    subset = write_npy(uids_of(shards), tmp_path / "subset.npy")
    with_tar_only(shards)
    for described in (b'{"url": "x"}', b'{"uid": 5}', b"{"):
        write_tar(shards / "00000000.tar", [{"a.jpg": encode_image(1), "a.json": described}])
        with pytest.raises(InputError, match=r"00000000\.tar: sample a: .*json"):
            reshard.run(str(shards), str(subset), str(tmp_path / "out"), ReshardOptions(), IN_PROCESS)
