"""img2dataset and clipsieve on one table and one server: what either writes, the other's readers take for its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from clipsieve.schemas.tables import SHARDS

SHARD_SIZE = 10
TROUBLED = {3: Behaviour.NOT_FOUND, 7: Behaviour.HTML, 12: Behaviour.REDIRECT, 21: Behaviour.NOT_FOUND}
ROWS = 23
ONE_PROCESS = ("--", "--runner=FnApiRunner")
IMG2DATASET = (sys.executable, "-c", "from img2dataset import download; import fire; fire.Fire(download)")


@dataclass(frozen=True)
class Both:
    """One table, downloaded twice."""

    pairs: Path
    theirs: Path
    ours: Path


def photograph(seed: int) -> bytes:
    """A JPEG of a size that needs no, a little or much shrinking; every fifth is grey."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (12, 16, 3), np.uint8)
    size = [(500, 375), (300, 1_200), (256, 256), (200, 150)][seed % 4]
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = f"camera {seed}"
    (image.convert("L") if seed % 5 == 4 else image).save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


def img2dataset(pairs: Path, out: Path) -> str:
    """Run img2dataset's own command; returns what it printed."""
    options = {
        "url_list": pairs,
        "output_folder": out,
        "input_format": "parquet",
        "output_format": "webdataset",
        "caption_col": "caption",
        "save_additional_columns": '["creator","number"]',
        "image_size": 256,
        "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True,
        "number_sample_per_shard": SHARD_SIZE,
        "processes_count": 1,
        "thread_count": 4,
    }
    command = [*IMG2DATASET, *(f"--{name}={value}" for name, value in options.items())]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, status_of: Callable[..., int]) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    pages = {f"/{n}.jpg": Page(photograph(n), TROUBLED.get(n, Behaviour.OK)) for n in range(ROWS)}
    with serve(pages) as base:
        columns = {
            "creator": [f"painter {n} ä" if n % 3 else None for n in range(ROWS)],
            "url": [f"{base}/{n}.jpg" for n in range(ROWS)],
            "number": pa.array(range(ROWS), pa.int64()),
            "caption": [f'a "thing", number {n} \u2713' for n in range(ROWS)],
        }
        pq.write_table(pa.table(columns), folder / "pairs.parquet")
        theirs, ours = folder / "theirs", folder / "ours"
        img2dataset(folder / "pairs.parquet", theirs)
        flags = ["--shard-size", SHARD_SIZE, "--allow-host", base.removeprefix("http://")]
        command = ["download", "--pairs", folder / "pairs.parquet", "--out", ours, *flags, *ONE_PROCESS]
        assert status_of(*command) == 0
        yield Both(folder / "pairs.parquet", theirs, ours)


def names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    """key -> extension -> content, in the order of the tar's members."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            content = tar.extractfile(member)
            assert content is not None
            found.setdefault(key, {})[extension] = content.read()
    return found


def rows(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(folder / name) for name in names(folder, ".parquet"))


def by_key(folder: Path) -> pa.Table:
    """The rows in input order; img2dataset leaves them in the order in which they came."""
    return rows(folder).sort_by("key")


def test_files_bear_the_same_names(both: Both) -> None:
    for suffix in (".tar", ".parquet", "_stats.json"):
        assert names(both.ours, suffix) == names(both.theirs, suffix) == [f"{n:05d}{suffix}" for n in range(3)]
    assert names(both.ours, ".json") == names(both.theirs, ".json")


def test_parquet_columns_are_theirs_in_their_order_and_then_ours(both: Both) -> None:
    for name in names(both.theirs, ".parquet"):
        theirs, ours = pq.read_schema(both.theirs / name), pq.read_schema(both.ours / name)
        assert theirs.names == ["creator", "number", *SHARDS.columns[:11]]
        assert ours.names == ["creator", "number", *SHARDS.columns]
        assert {n: ours.field(n).type for n in theirs.names} == {n: theirs.field(n).type for n in theirs.names}


def test_rows_say_the_same_in_their_columns(both: Both) -> None:
    """But for the words of a failure, and its sha256, which they keep of images alone."""
    theirs, ours = by_key(both.theirs), rows(both.ours)
    done = pc.equal(ours["status"], "success")
    assert ours["sha256"].filter(done).equals(theirs["sha256"].filter(done))
    for name in theirs.schema.names:
        if name not in ("error_message", "sha256"):
            assert ours[name].to_pylist() == theirs[name].to_pylist(), name
    missing = [message is None for message in theirs["error_message"].to_pylist()]
    assert [message is None for message in ours["error_message"].to_pylist()] == missing
    assert missing.count(False) == sum(behaviour is not Behaviour.REDIRECT for behaviour in TROUBLED.values())


def test_stats_have_their_keys_and_counts_first(both: Both) -> None:
    for name in names(both.theirs, "_stats.json"):
        theirs, ours = (json.loads((folder / name).read_text()) for folder in (both.theirs, both.ours))
        assert list(ours)[: len(theirs)] == list(theirs)
        for key in ("count", "successes", "failed_to_download", "failed_to_resize"):
            assert ours[key] == theirs[key], (name, key)
        assert ours["status_dict"]["success"] == theirs["status_dict"]["success"]
        assert sum(ours["status_dict"].values()) == sum(theirs["status_dict"].values())


def test_tars_hold_the_same_samples_byte_for_byte(both: Both) -> None:
    for name in names(both.theirs, ".tar"):
        theirs, ours = samples(both.theirs / name), samples(both.ours / name)
        assert list(ours) == sorted(theirs)  # theirs stand in the order in which they came
        for key, sample in theirs.items():
            assert list(ours[key]) == list(sample) == ["jpg", "json", "txt"]
            assert ours[key]["jpg"] == sample["jpg"], key
            assert ours[key]["txt"] == sample["txt"]
            told, known = json.loads(ours[key]["json"]), json.loads(sample["json"])
            assert {column: told[column] for column in known} == known
            assert [column for column in told if column in known] == list(known)


def test_their_incremental_mode_finds_nothing_left_to_do_in_our_folder(both: Both) -> None:
    before = {path.name: path.read_bytes() for path in both.ours.glob("0*")}
    assert "File sharded in 0 shards" in img2dataset(both.pairs, both.ours)
    assert {path.name: path.read_bytes() for path in both.ours.glob("0*")} == before
    assert len(before) == 9


def test_webdataset_reads_the_two_folders_alike(both: Both) -> None:
    def read(folder: Path) -> list[tuple[str, str, bytes]]:
        tars = [str(folder / name) for name in names(folder, ".tar")]
        dataset = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
        return sorted((s["__key__"], s["txt"], s["jpg"].tobytes()) for s in dataset)

    assert read(both.ours) == read(both.theirs)
    assert len(read(both.ours)) == ROWS - 3


def test_score_reads_a_folder_of_theirs_as_one_of_ours(both: Both, status_of: Callable[..., int], tmp_path) -> None:
    scores = {}
    for name, shards in (("theirs", both.theirs), ("ours", both.ours)):
        assert status_of("score", "--shards", shards, "--out", tmp_path / name, *ONE_PROCESS) == 0
        table = rows(tmp_path / name)
        scores[name] = sorted(zip(table["uid"].to_pylist(), table["similarity"].to_pylist(), strict=True))
    assert [uid for uid, _ in scores["theirs"]] == [uid for uid, _ in scores["ours"]]
    np.testing.assert_allclose([s for _, s in scores["theirs"]], [s for _, s in scores["ours"]], atol=1e-5)
    assert len(scores["ours"]) == ROWS - 3
