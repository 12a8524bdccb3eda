"""Indexes of folders as other tools leave them: what they hold, what they leave out, and that nothing else changes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.dedup import job as dedup
from clipsieve.pipelines.index import job
from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.shards.rows import iter_shard_samples
from clipsieve.pipelines.takedown import job as takedown
from clipsieve.pipelines.verify import job as verify
from clipsieve.schemas import tables
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.options import DedupOptions, IndexOptions, ReshardOptions, ScoreOptions, TrainOptions
from clipsieve.schemas.uid import uid_of
from clipsieve.training.train import run as train

ONE_PROCESS = ["--runner=FnApiRunner"]


def picture(seed: int, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize((96, 72)).save(stream, kind)
    return stream.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def sample(key: str, seed: int, image: str = "jpg", caption: str = "txt", **said: object) -> dict[str, bytes]:
    members = {f"{key}.{image}": picture(seed, "PNG" if image.lower() == "png" else "JPEG")}
    if caption:
        members[f"{key}.{caption}"] = f"caption {seed}".encode()
    return members | ({f"{key}.json": json.dumps(said).encode()} if said else {})


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def rows_of(index: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(index.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def index(shards: Path, out: Path, *more: Path, **options: object) -> dict[str, int]:
    folders = [str(folder) for folder in (shards, *more)]
    return job.run(folders, str(out), IndexOptions(**options), ONE_PROCESS).counts.shown


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Two tars with keys, folders and extensions of all kinds, and samples that are none."""
    first = {
        **sample("Photos/Cat.v2", 0, "JPEG", url="http://a/0"),
        **sample("dog", 1, "png", url="http://a/1"),
        **sample("no-caption", 2, caption=""),
        "lonely.txt": b"no picture",
        **sample("dog2", 1, "jpg", url="http://a/1"),  # the pair of dog
        "README.md": b"of no sample",
    }
    second = [*sample("x", 4, uid="0" * 31 + "4", url="http://a/4").items(), *sample("Ä ö", 5).items()]
    write_tar(tmp_path / "odd" / "a.tar", first.items())
    write_tar(tmp_path / "odd" / "b.tar", [*second, *sample("x", 6).items()])
    return tmp_path / "odd"


def test_each_sample_is_a_row_or_is_counted(odd: Path, tmp_path: Path) -> None:
    before = digests(odd)
    counts = index(odd, tmp_path / "index")
    assert counts == {
        "pairs": 4,
        "shards": 2,
        "own_uids": 1,
        "hashed_keys": 1,
        "without_image": 1,
        "without_caption": 1,
        "duplicates": 2,
        "unfinished": 0,
    }
    rows = rows_of(tmp_path / "index")
    assert {row["key"]: (row["uid"], row["caption"], row["url"]) for row in rows} == {
        "Photos/Cat.v2": (uid_of("http://a/0", "caption 0"), "caption 0", "http://a/0"),
        "dog": (uid_of("http://a/1", "caption 1"), "caption 1", "http://a/1"),
        "x": ("0" * 31 + "4", "caption 4", "http://a/4"),
        "Ä ö": (uid_of("b", "Ä ö"), "caption 5", None),
    }
    assert digests(odd) == before
    read = [sample for name in "ab" for sample in iter_shard_samples(str(tmp_path / "index"), name)]
    assert [(each.key, each.caption, each.image) for each in read] == [
        (row["key"], row["caption"], picture(seed, kind))
        for row, (seed, kind) in zip(rows, [(0, "JPEG"), (1, "PNG"), (4, "JPEG"), (5, "JPEG")], strict=True)
    ]


@pytest.mark.parametrize(
    ("options", "caption"),
    [
        ({"captions": ("caption.txt",)}, "a member of another name"),
        ({"captions": ("json:text",)}, "in the json"),
        ({"captions": ("json:nothing", "CAP")}, "in capitals"),
    ],
)
def test_a_caption_is_where_the_options_say(tmp_path: Path, options: dict[str, object], caption: str) -> None:
    members = {
        "a.jpg": picture(0),
        "a.cap": b"in capitals",
        "a.caption.txt": b"a member of another name",
        "a.json": b'{"text": "in the json"}',
    }
    write_tar(tmp_path / "shards" / "0.tar", members.items())
    index(tmp_path / "shards", tmp_path / "index", **options)
    assert [row["caption"] for row in rows_of(tmp_path / "index")] == [caption]
    assert next(iter_shard_samples(str(tmp_path / "index"), "0")).caption == caption


@pytest.mark.parametrize("uid_from", ["any", "pair", "key"])
def test_a_uid_is_made_as_the_options_say(tmp_path: Path, uid_from: str) -> None:
    write_tar(tmp_path / "shards" / "0.tar", sample("a", 0, uid="ab" * 16, url="http://a").items())
    index(tmp_path / "shards", tmp_path / "index", uid_from=uid_from)
    expected = {"any": "ab" * 16, "pair": uid_of("http://a", "caption 0"), "key": uid_of("0", "a")}
    assert rows_of(tmp_path / "index")[0]["uid"] == expected[uid_from]


@pytest.mark.parametrize("uid", ["AB" * 16, 7, "x", "ab" * 15])
def test_what_is_no_uid_is_refused(tmp_path: Path, uid: object) -> None:
    write_tar(tmp_path / "shards" / "0.tar", sample("a", 0, uid=uid).items())
    with pytest.raises(InputError, match=r"0.tar: sample a: uid .* is not 32 hex digits.*`uid_from` pair"):
        index(tmp_path / "shards", tmp_path / "index")


def listed(folder: Path, name: str, seeds: range, **changes: list[object]) -> None:
    """A tar with the Parquet and the stats file that img2dataset leaves."""
    members: dict[str, bytes] = {}
    for seed in seeds:
        members |= sample(f"{seed:09d}", seed)
    write_tar(folder / f"{name}.tar", members.items())
    columns = {
        "url": [f"http://a/{seed}" for seed in seeds],
        "caption": [f"caption {seed}" for seed in seeds],
        "key": [f"{seed:09d}" for seed in seeds],
        "status": ["success"] * len(seeds),
        "similarity": [seed / 10 for seed in seeds],
    } | changes
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    (folder / f"{name}_stats.json").write_text("{}")


def test_a_table_says_what_is_known_and_its_columns_pass(tmp_path: Path) -> None:
    listed(tmp_path / "shards", "00000", range(3))
    write_tar(tmp_path / "shards" / "00001.tar", sample("000000009", 9).items())  # img2dataset is at work on it
    assert index(tmp_path / "shards", tmp_path / "index")["unfinished"] == 1
    rows = rows_of(tmp_path / "index")
    assert [row["similarity"] for row in rows] == [0, 0.1, 0.2]
    assert [row["uid"] for row in rows] == [uid_of(f"http://a/{n}", f"caption {n}") for n in range(3)]


def test_a_tar_and_its_table_must_agree(tmp_path: Path) -> None:
    listed(tmp_path / "more", "00000", range(3), key=["000000000", "000000001", "000000007"])
    with pytest.raises(InputError, match=r"00000.tar: 1 samples of its Parquet are missing, the first 000000007"):
        index(tmp_path / "more", tmp_path / "index")
    listed(tmp_path / "less", "00000", range(3), status=["success", "success", "failed_to_download"])
    with pytest.raises(InputError, match=r"00000.parquet: 1 samples of its tar are missing, the first 000000002"):
        index(tmp_path / "less", tmp_path / "index2")


@pytest.mark.parametrize("suffix", [".parquet", "_stats.json"])
def test_a_tar_that_is_gone_is_named(tmp_path: Path, suffix: str) -> None:
    listed(tmp_path / "shards", "00000", range(2))
    (tmp_path / "shards" / f"00001{suffix}").write_bytes(b"")
    with pytest.raises(InputError, match=rf"the tar of 00001{suffix} is missing"):
        index(tmp_path / "shards", tmp_path / "index")


def test_several_folders_are_one_pool(tmp_path: Path) -> None:
    for name, seeds in (("a", range(3)), ("b", range(2, 5))):
        listed(tmp_path / name, "00000", seeds)
    counts = index(tmp_path / "a", tmp_path / "index", tmp_path / "b")
    assert (counts["pairs"], counts["shards"], counts["duplicates"]) == (5, 2, 1)
    assert sorted(path.stem for path in (tmp_path / "index").glob("*.parquet")) == ["0-00000", "1-00000"]
    assert [row["key"][-1] for row in rows_of(tmp_path / "index")] == list("01234")


def test_neither_workers_nor_a_stop_matter(tmp_path: Path) -> None:
    for number in range(5):
        listed(tmp_path / "shards", f"{number:05d}", range(number * 3, number * 3 + 4))
    index(tmp_path / "shards", tmp_path / "one")
    job.run([str(tmp_path / "shards")], str(tmp_path / "two"), IndexOptions(), ["--direct_num_workers=2"])
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    for path in (tmp_path / "two" / "00003_stats.json", tmp_path / "two" / "00001.parquet"):
        path.unlink()  # as a stop before the end leaves it
    (tmp_path / "two" / "00001_stats.json").unlink()
    content = json.loads((tmp_path / "two" / "manifest.json").read_text())
    (tmp_path / "two" / "manifest.json").write_text(json.dumps(content | {"status": "running", "counts": {}}))
    made = job.run([str(tmp_path / "shards")], str(tmp_path / "two"), IndexOptions(), ONE_PROCESS)
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    assert made.counts.shown["duplicates"] == 4


def test_a_model_trained_on_an_index_is_that_of_its_copy(tmp_path: Path) -> None:
    for number in range(3):
        listed(tmp_path / "shards", f"{number:05d}", range(number * 8, number * 8 + 8))
    before = digests(tmp_path / "shards")
    index(tmp_path / "shards", tmp_path / "run" / "shards")
    everything = tmp_path / "all.txt"
    everything.write_text("".join(f"{row['uid']}\n" for row in rows_of(tmp_path / "run" / "shards")))
    options = ReshardOptions(shard_size=7, seed=3)
    reshard.run(str(tmp_path / "run" / "shards"), str(everything), str(tmp_path / "copy"), options, ONE_PROCESS)
    recipe = TrainOptions(tower="regnet-tiny-64", samples=48, batch_size=8, warmup_steps=1, augment="crop_flip")
    models = [
        train(str(tmp_path / shards), (), str(tmp_path / f"model{number}"), recipe)
        for number, shards in enumerate(("run/shards", "copy"))
    ]
    assert models[0].digest == models[1].digest
    assert digests(tmp_path / "shards") == before


def test_a_run_of_an_index_scores_verifies_and_refuses_a_takedown(odd: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    index(odd, run / "shards")
    score.run(str(run / "shards"), str(run / "scores"), ScoreOptions(references=("builtin",)), ONE_PROCESS)
    scores = tables.read_table(str(run / "scores" / "a.parquet"), tables.SCORES)
    assert scores["key"].to_pylist() == ["Photos/Cat.v2", "dog"]
    checks = {check.what: check.detail for check in verify.run(str(run))}
    assert checks["shards"].startswith("4 samples in 2 tars of another tool") and "4 pairs" in checks["scores"]
    listed_uids = tmp_path / "list.txt"
    listed_uids.write_text("http://a/1\n")
    before = digests(run)
    with pytest.raises(InputError, match=r"1 listed pairs lie in tars .*odd/a.tar \(1\); remove them there"):
        takedown.run(str(run), str(listed_uids))
    assert digests(run) == before
    write_tar(odd / "a.tar", sample("dog", 1, "png", url="http://a/1").items())
    with pytest.raises(ClipsieveError, match=r"a.parquet: row 1: sample Photos/Cat.v2 is not at byte 0 of .*odd/a.tar"):
        verify.run(str(run))


def test_a_list_is_proved_absent_from_any_shards(tmp_path: Path) -> None:
    listed(tmp_path / "shards", "00000", range(3))
    wishes = tmp_path / "list.txt"
    wishes.write_text("http://a/9\n")
    (check,) = verify.run(str(tmp_path / "shards"), str(wishes))
    assert check.detail.startswith("0 uids, 1 URLs, 0 domains; none of their pairs among 3 in the shards of")
    held = tmp_path / "held.txt"
    held.write_text("http://a/2\n")
    with pytest.raises(ClipsieveError, match=r"00000.parquet: holds 1 pairs that .*held.txt names"):
        verify.run(str(tmp_path / "shards"), str(held))
    with pytest.raises(InputError, match="a folder of shards, not a run; name its run, or give --opt-out"):
        verify.run(str(tmp_path / "shards"))


def test_dedup_computes_the_hashes_that_an_index_lacks(tmp_path: Path) -> None:
    members = sample("a", 1) | {f"b.{part}": data for part, data in (("jpg", picture(1)), ("txt", b"the same picture"))}
    write_tar(tmp_path / "shards" / "0.tar", (members | sample("c", 2)).items())
    index(tmp_path / "shards", tmp_path / "run" / "shards")
    shards, scores = str(tmp_path / "run" / "shards"), str(tmp_path / "run" / "scores")
    score.run(shards, scores, ScoreOptions(references=("builtin",)), ONE_PROCESS)
    for number, method in enumerate(("exact", "perceptual", "thumbnail")):
        out = str(tmp_path / f"dedup{number}")
        made = dedup.run(shards, scores, out, DedupOptions(methods=(method, "thumbnail")), ONE_PROCESS)
        assert made.counts.shown["kept"] == 2
        assert made.counts.shown[method] == 1


@pytest.mark.parametrize("has_table", [False, True])
def test_a_json_without_the_captions_field_is_no_caption(tmp_path: Path, has_table: bool) -> None:
    members = {**sample("a", 0, caption="", title="x"), **sample("b", 1, caption="", alt=None)}
    members |= {"c.jpg": picture(2), "c.json": b'{"alt": "a cat"}'}
    write_tar(tmp_path / "shards" / "0.tar", members.items())
    if has_table:
        rows = pa.table({"key": ["a", "b", "c"], "caption": ["x", "y", "a cat"]})
        pq.write_table(rows, tmp_path / "shards" / "0.parquet")
    counts = index(tmp_path / "shards", tmp_path / "index", captions=("json:alt",))
    assert (counts["pairs"], counts["without_caption"]) == (1, 2)
    assert [(row["key"], row["caption"]) for row in rows_of(tmp_path / "index")] == [("c", "a cat")]
