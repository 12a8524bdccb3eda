"""`clipsieve dedup` on shards with planted repeats, and `select` on what it wrote."""

from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas import tables
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.uid import uid_of


def _picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(pixels).resize((200, 200), Image.Resampling.BICUBIC)


def _jpeg(image, quality=95):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


FILES = {
    "first": _jpeg(_picture(1)),
    "again": _jpeg(_picture(1)),
    "recompressed": _jpeg(_picture(1), 50),
    "cropped": _jpeg(_picture(2).crop((6, 3, 196, 193))),
    "whole": _jpeg(_picture(2)),
    "of a task": _jpeg(_picture(3).resize((120, 120))),
    "alone": _jpeg(_picture(4)),
    "white": _jpeg(Image.new("RGB", (50, 50), "white")),
    "red": _jpeg(Image.new("RGB", (50, 50), "red")),
}
UIDS = {name: uid_of(f"https://example.org/{name}", name) for name in FILES}


@pytest.fixture
def planted(tmp_path):
    """Shards and scores of `FILES`, each scored lower than the one before, and a task that holds picture 3."""
    half = 5
    for number, names in enumerate((list(FILES)[:half], list(FILES)[half:])):
        shard, rows = f"{number:05d}", len(names)
        done = [process_image(FILES[name], DownloadOptions()) for name in names]
        made = [image for image in done if isinstance(image, ProcessedImage)]
        digests = [hashlib.sha256(FILES[name]).hexdigest() for name in names]
        columns = {
            "caption": names,
            "url": [f"https://example.org/{name}" for name in names],
            "key": [f"{number:05d}{row:04d}" for row in range(rows)],
            "uid": [UIDS[name] for name in names],
        }
        outcomes = [
            RowOutcome({"status": "success", "sha256": digest, "phash": image.phash}, image.image)
            for digest, image in zip(digests, made, strict=True)
        ]
        with open_shard(str(tmp_path / "shards"), shard, pa.schema([]), 0) as writer:
            writer.write(pa.table(columns), outcomes)
        scores = {name: columns[name] for name in ("uid", "key")} | {
            "shard": [shard] * rows,
            "similarity": np.float32(0.5) - np.arange(rows, dtype=np.float32) / 100 - np.float32(number) / 10,
        }
        wanted = ["uid", "shard", "key", "similarity"]
        tables.write_table(pa.table(scores), tables.SCORES, str(tmp_path / f"scores/{shard}.parquet"), wanted)
    return tmp_path


def _run(command, planted, out, *flags):
    ended = command("dedup", "--shards", planted / "shards", "--scores", planted / "scores", "--out", out, *flags)
    assert ended.status == 0, ended.err
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = {uid: name for name, uid in UIDS.items()}
    return {
        names[row["uid"]]: (names.get(row["duplicate_of"], row["duplicate_of"]), row["method"])
        for row in rows
        if row["duplicate_of"]
    }


def test_the_best_scored_of_each_picture_is_kept(planted, command):
    found = _run(command, planted, planted / "dedup")
    assert found["again"] == ("first", "exact")
    assert found["recompressed"][0] == "first"
    assert found["whole"] == ("cropped", "thumbnail")
    assert found.keys() == {"again", "recompressed", "whole"}, "white is not red"


@pytest.mark.parametrize(("name", "key"), [("s0.jpg", "s0"), ("Cats/Tabby.v2.JPEG", "Cats/Tabby.v2")])
def test_images_of_a_task_are_kept_out(planted, command, write_task, name, key):
    write_task(planted / "tasks" / "wds_shapes" / "test", name, _jpeg(_picture(3)))
    found = _run(command, planted, planted / "dedup", "--tasks", planted / "tasks")
    assert found["of a task"][0] == f"shapes:{key}"


@pytest.fixture
def write_task():
    def write(folder, name, image):
        folder.mkdir(parents=True)
        with tarfile.open(folder / "0.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            member = tarfile.TarInfo(name)
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))

    return write


def test_select_leaves_duplicates_out(planted, command):
    _run(command, planted, planted / "dedup")
    ended = command("select", "--scores", planted / "scores", "--dedup", planted / "dedup", "--out", planted)
    assert ended.status == 0, ended.err
    assert "eligible 6" in ended.out


def test_a_recipe_with_dedup_selects_what_it_keeps(planted, command):
    (planted / "recipe.yaml").write_text("pairs: pairs.parquet\ndedup:\n  methods: [exact]\nselect: {}\n")
    ended = command("run", planted / "recipe.yaml")
    assert ended.status == 0, ended.err
    assert "kept 8, exact 1" in ended.out and "eligible 8" in ended.out


def test_perceptual_alone_looks_at_the_pictures_too(planted, command):
    found = _run(command, planted, planted / "dedup", "--method", "perceptual")
    assert found["recompressed"] == ("first", "perceptual") and "white" not in found


def test_the_same_again_and_again(planted, command):
    _run(command, planted, planted / "one")
    before = {path.name: path.read_bytes() for path in (planted / "one").glob("*")}
    _run(command, planted, planted / "one")
    _run(command, planted, planted / "two")
    assert {path.name: path.read_bytes() for path in (planted / "one").glob("*")} == before
    for path in (planted / "one").glob("*.parquet"):
        assert (planted / "two" / path.name).read_bytes() == path.read_bytes()


def test_embeddings_that_are_missing_are_named(planted, command):
    arguments = ("--shards", planted / "shards", "--scores", planted / "scores", "--out", planted / "dedup")
    ended = command("dedup", *arguments, "--method", "semantic")
    assert ended.status == 2
    assert "00000.npz: no such embeddings" in ended.err
