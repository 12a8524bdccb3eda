"""A real run, small: eighty of the embedded pairs on a troubled little web, through every stage.

It is made twice, each time by the real command line: once by `clipsieve run` in a process of its own, on as
many workers as there are cores, and once stage by stage in this process, on one.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image, ImageDraw

from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from tests.integration.installed import Installed, install

TROUBLED = {
    Behaviour.NOT_FOUND: 3,
    Behaviour.HTML: 2,
    Behaviour.TRUNCATED: 1,
    Behaviour.NOAI: 1,
    Behaviour.REDIRECT_PRIVATE: 1,
    Behaviour.REDIRECT: 3,
    Behaviour.WRONG_TYPE: 1,
    Behaviour.FLAKY: 2,
}
PAGES = 80
DUPLICATES = 5
ONE_WORKER = ["--", "--runner=FnApiRunner"]
SHAPES = ("circle", "square")

TINY_TOWER = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 1024, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "size": 16,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


@dataclass(frozen=True)
class Source:
    """What a run starts from."""

    pairs: Path
    address: str
    tower: Path
    tasks: Path

    @property
    def recipe(self) -> dict:
        training = {"tower": str(self.tower), "samples": 96, "batch_size": 16, "warmup_steps": 2}
        return {
            "pairs": "pairs/pairs.parquet",
            "download": {"shard_size": 32, "allow_hosts": [self.address], "attempts": 3},
            "score": {"references": ["builtin"], "embeddings": True},
            "select": {"fractions": [20, 40, 60, 80], "sizes": [10, 30]},
            "reshard": [{"subset": "top40", "shard_size": 10}],
            "train": [{"name": "top40", "subset": "top40", **training}, {"name": "all", **training}],
            "evaluate": {"data": str(self.tasks)},
            "report": True,
        }


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """85 rows, the last five of them repeated, of pages of which eight fail for good."""
    embedded = pq.read_table(io.BytesIO((resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes()))
    rows = embedded.slice(0, PAGES).to_pylist()
    behaviours = [kind for kind, count in TROUBLED.items() for _ in range(count)]
    behaviours += [Behaviour.OK] * (PAGES - len(behaviours))
    pages = {f"/{row['id']}": Page(row["image"], kind) for row, kind in zip(rows, behaviours, strict=True)}
    folder = tmp_path_factory.mktemp("source")
    (folder / "tower.json").write_text(json.dumps(TINY_TOWER))
    _write_task(folder / "tasks" / "wds_shapes")
    with serve(pages) as base:
        pairs = [
            {"url": f"{base}/{quote(row['id'])}", "caption": row["title"], "creator": row["creator"]} for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(pairs + pairs[-DUPLICATES:]), folder / "pairs.parquet")
        address = base.removeprefix("http://")
        yield Source(folder / "pairs.parquet", address, folder / "tower.json", folder / "tasks")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def small_run(source: Source, installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run by the installed `clipsieve run RECIPE`. To be read, not changed."""
    out = _begin(source, tmp_path_factory.mktemp("small") / "run")
    ended = installed.run("clipsieve", "run", str(out / "recipe.yaml"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == str(out / "report" / "index.html")
    return out


@pytest.fixture(scope="session")
def run_by_stages(source: Source, status_of: Callable[..., int], tmp_path_factory) -> Path:
    """The folder of the same run, one command a stage, on one worker. To be read, not changed."""
    out = _begin(source, tmp_path_factory.mktemp("stages") / "run")
    recipe, shards = source.recipe, str(out / "shards")
    download, score, select = (_flags(recipe[name]) for name in ("download", "score", "select"))
    subset = str(out / "subsets" / "top40.npy")
    reshard = [*_flags({"shard_size": recipe["reshard"][0]["shard_size"]}), *ONE_WORKER]
    # In one thread, as several runs of a recipe are trained.
    training = _flags({name: value for name, value in recipe["train"][1].items() if name != "name"} | {"threads": 1})
    tasks = _flags(recipe["evaluate"])
    commands = [
        ["download", "--pairs", str(out / "pairs" / "pairs.parquet"), "--out", shards, *download, *ONE_WORKER],
        ["score", "--shards", shards, "--out", str(out / "scores"), *score, *ONE_WORKER],
        ["select", "--scores", str(out / "scores"), "--out", str(out), *select, *ONE_WORKER],
        ["reshard", "--shards", shards, "--subset", subset, "--out", str(out / "resharded" / "top40"), *reshard],
        ["train", "--shards", shards, "--subset", subset, "--out", str(out / "models" / "top40"), *training],
        ["train", "--shards", shards, "--out", str(out / "models" / "all"), *training],
        *(
            ["evaluate", "--model", str(out / "models" / name), "--out", str(out / "evaluations" / name), *tasks]
            for name in ("top40", "all")
        ),
        ["report", str(out)],
    ]
    for command in commands:
        assert status_of(*command) == 0, command
    return out


def _begin(source: Source, out: Path) -> Path:
    (out / "pairs").mkdir(parents=True)
    (out / "pairs" / "pairs.parquet").write_bytes(source.pairs.read_bytes())
    (out / "recipe.yaml").write_text(yaml.safe_dump(source.recipe, sort_keys=False))
    return out


def _flags(options: dict) -> list[str]:
    """A stage's options of a recipe as the command line spells them."""
    flags: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif isinstance(value, list):
            flags += [word for item in value for word in (flag[:-1], str(item))]
        else:
            flags += [flag, str(value)]
    return flags


def _write_task(folder: Path) -> None:
    """A zero-shot task of ten circles and ten squares, in CLIP_benchmark's layout."""
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("\n".join(SHAPES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    (folder / "test" / "nshards.txt").write_text("1\n")
    with tarfile.open(folder / "test" / "0.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(20):
            image, stream = Image.new("RGB", (32, 32), "white"), io.BytesIO()
            draw, box = ImageDraw.Draw(image), (4 + number % 5, 4, 24 + number % 5, 24)
            (draw.rectangle if number % 2 else draw.ellipse)(box, fill="black")
            image.save(stream, "PNG")
            for extension, data in (("png", stream.getvalue()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"s{number:04d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
