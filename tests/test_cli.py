"""The command line: what a user does wrong is one line that says what and where, and nothing is lost."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from apache_beam.options.pipeline_options import DirectOptions
from PIL import Image
from typer.testing import CliRunner

from clipsieve import cli  # noqa: F401  registers the commands
from clipsieve.app import app
from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.quickstart.web import Page, serve
from clipsieve.schemas import options
from clipsieve.schemas.manifest import manifest_path, read_manifest
from tests.commands import CLIPSIEVE

PAIRS = 12
PROGRESS = re.compile(r"[a-z]+( \([a-z]+\))?: [\d,]+/[\d,]+ \(\d+%\), .*")
OPTIONS: dict[str, type[options.Options]] = {
    "download": options.DownloadOptions,
    "index": options.IndexOptions,
    "adopt": options.IndexOptions,
    "pack": options.PackOptions,
    "score": options.ScoreOptions,
    "drift": options.DriftOptions,
    "filter": options.FilterOptions,
    "dedup": options.DedupOptions,
    "select": options.SelectOptions,
    "reshard": options.ReshardOptions,
    "tokenizer": options.TokenizerOptions,
    "plan": options.PlanOptions,
    "train": options.TrainOptions,
    "evaluate": options.EvaluateOptions,
}
COMMANDS = (*OPTIONS, "towers", "export", "compare", "report", "verify", "explain", "takedown", "run", "quickstart")
ONE_WORKER = ("--", "--runner=FnApiRunner")


@pytest.fixture(scope="module")
def made(status_of: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs.parquet, two shards of their 12 pairs, of which 3 were not found, and scores."""
    folder = tmp_path_factory.mktemp("made")
    pages = {f"/{number}.png": Page(_png(number)) for number in range(PAIRS) if number % 4}
    with serve(pages) as base:
        urls, captions = zip(*((f"{base}/{number}.png", f"thing {number}") for number in range(PAIRS)), strict=True)
        pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "pairs.parquet")
        arguments = ["--pairs", folder / "pairs.parquet", "--out", folder / "shards", "--shard-size", "8"]
        budget = ["--allow-host", base.removeprefix("http://"), "--max-failure-share", "0.2"]
        assert status_of("download", *arguments, *budget, *ONE_WORKER) == 3
    rows = [row for path in sorted((folder / "shards").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    uids = [row["uid"] for row in rows if row["status"] == "success"]
    (folder / "scores").mkdir()
    scores = {"uid": uids, "similarity": np.linspace(0, 1, len(uids), dtype=np.float32)}
    pq.write_table(pa.table(scores), folder / "scores" / "00000.parquet")
    pq.write_table(pa.table({"uid": ["0" * 32]}), folder / "foreign.parquet")
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "work"))


def _png(number: int) -> bytes:
    pixels, stream = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def error_of(ended) -> str:
    """What stands on stderr besides how far the work had come: one line of ours, less its prefix."""
    lines = [line for line in ended.err.splitlines() if not PROGRESS.fullmatch(line)]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("clipsieve: ")
    return lines[0].removeprefix("clipsieve: ")


def table(work: Path, name: str, content: bytes) -> Path:
    (work / name).write_bytes(content)
    return work / name


def parquet(work: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), work / "given.parquet")
    return work / "given.parquet"


BAD_PAIRS: list[tuple[Callable[[Path], Path], str]] = [
    (lambda work: parquet(work, link=["x"], caption=["x"]), "column 'url' is missing (or URL); it has: link, caption"),
    (lambda work: parquet(work, url=["x"], title=["x"]), "column 'caption' is missing"),
    (lambda work: parquet(work, url=["x"], caption=["x"], uid=["7"]), "row 1: uid '7' is not 32 hex digits"),
    (lambda work: parquet(work, url=pa.array([], pa.string()), caption=[]), "the table has no rows"),
    (lambda work: work / "nowhere.parquet", "no such file"),
    (lambda work: table(work, "given.parquet", b"PAR1 no"), "not a readable Parquet file"),
    (
        lambda work: table(work, "given.jsonl", b'{"url": "x", "caption": "x"}\n{"url": "x",\n'),
        "row 2: not a JSON object",
    ),
    (lambda work: table(work, "given.csv", b"url,caption\nx,x\nx,x,x\n"), "Expected 2 columns, got 3"),
    (lambda work: table(work, "given.tsv", b"url\tcaption\nx\t\xff\n"), "invalid UTF8"),
]


@pytest.mark.parametrize(("give", "message"), BAD_PAIRS)
def test_a_table_that_cannot_be_read(work: Path, command, give: Callable[[Path], Path], message: str) -> None:
    given = give(work)
    ended = command("download", "--pairs", given, "--out", work / "out", *ONE_WORKER)
    assert ended.status == 2
    assert error_of(ended).startswith(f"{given}: ") and message in ended.err
    assert read_manifest(str(work / "out")) is None  # the fixed table may be downloaded there


def truncated_tar(work: Path) -> Path:
    tar = work / "shards" / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    return tar


@pytest.mark.parametrize("stage", ["score", "reshard", "verify"])
def test_a_corrupt_shard(work: Path, command, status_of, stage: str) -> None:
    status_of("select", "--scores", work / "scores", "--out", work, "--fraction", "100", *ONE_WORKER)
    tar = truncated_tar(work)
    everything = ["--shards", work / "shards", "--out", work / "out"]
    arguments: dict[str, list] = {
        "score": [*everything, *ONE_WORKER],
        "reshard": [*everything, "--subset", work / "subsets" / "top100.npy", *ONE_WORKER],
        "verify": [work],
    }
    ended = command(stage, *arguments[stage])
    assert ended.status == 2
    assert error_of(ended).startswith(f"{tar}: ")


WRONG: list[tuple[str, str]] = [
    ("score --shards shards --out out --reference buildin", "buildin: not a model"),
    ("score --shards shards --out out --reference open_clip:ViT-B-32/mine", "knows no weights 'mine'"),
    ("score --shards shards --out out --reference open_clip:ViT-B-32@mine.pt", "no such file mine.pt"),
    ("score --shards shards --out out --reference open_clip:ViT-Z@pairs.parquet", "no model 'ViT-Z'"),
    ("score --shards scores --out out", "scores: no finished shard"),
    ("score --shards shards --out out --batch-size 0", "score: --batch-size: Input should be greater than 0 (got '0')"),
    ("download --pairs pairs.parquet --out out --allow-host 10.0.0.1", "10.0.0.1"),
    (
        "download --pairs pairs.parquet --out out --attempts many",
        "download: --attempts: Input should be a valid integer",
    ),
    ("download --pairs pairs.parquet --out shards --image-size 128", "--image-size was 256, now 128"),
    ("download --pairs pairs.parquet --out shards --no-robots-txt", "--robots-txt was True, now False"),
    ("download --pairs pairs.parquet --out shards --allow-host a:1 --allow-host b:2", "now ['a:1', 'b:2']"),
    ("download --pairs pairs.parquet --out out --bbox-col faces", "--bbox-col 'faces' is not one of its other columns"),
    ("download --pairs pairs.parquet --out out --retry-failed", "out: there is nothing to retry before download is"),
    ("download --pairs foreign.parquet --out shards", "shards: done with another recipe or input"),
    ("select --scores shards --out out", "shards/00000.parquet: column 'similarity' is missing"),
    ("select --scores nowhere --out out", "nowhere: no scores"),
    ("select --scores scores --out out --size 10", "a sample of 10 pairs cannot be drawn from 9 eligible pairs"),
    ("select --scores scores --out out --size ten", "'ten' is not a whole number of pairs"),
    ("select --scores scores --out out --fraction 101", "select: --fraction: Input should be less than"),
    ("select --scores scores --out out -- --runner=Abacus", "--runner=Abacus: Unexpected pipeline runner"),
    ("select --scores scores --out out fast", "select: unexpected 'fast'; Beam's options follow --"),
    ("reshard --shards shards --subset foreign.parquet --out out", "1 uids of the subset are missing from the shards"),
    ("reshard --shards shards --subset nowhere.npy --out out", "nowhere.npy: no such file"),
    ("train --shards shards --out out --tower vit-large", "--tower 'vit-large': neither a file nor one of"),
    ("train --shards shards --out out --tower pairs.parquet", "pairs.parquet: not a tower's configuration"),
    ("train --shards shards --out out --subset foreign.parquet", "1 uids are of no downloaded sample"),
    ("train --shards shards --out out", "9 samples to train on, fewer than a --batch-size of 256"),
    ("train --shards shards --out out --lock-image", "--lock-image needs a trained image tower"),
    (
        "train --shards shards --out out --replicas 2",
        "train: --replicas 2: with ddp each process has a copy: set --parallel to fsdp",
    ),
    ("train --shards shards --out out --strategy slip", "train: --strategy slip compares crops: set --augment to crop"),
    ("reshard --shards shards --subset foreign.parquet --out out", "; --allow-missing leaves them out"),
    ("train --shards shards --out out --optimizer sgd", "train: --optimizer: Input should be 'adamw' or 'adafactor'"),
    ("evaluate --model shards --out out", "shards: not a model"),
    ("evaluate --model builtin --out out --tasks imagenet", "no task 'imagenet' there"),
    ("report scores", "scores"),
    ("verify nowhere", "nowhere: no such folder"),
    ("run nowhere.yaml", "nowhere.yaml: no such recipe"),
    ("run pairs.parquet", "pairs.parquet: not YAML"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_what_a_user_does_wrong(made: Path, command, monkeypatch, line: str, message: str) -> None:
    monkeypatch.chdir(made)
    before = files_of(made)
    try:
        ended = command(*line.split())
        assert ended.status == 2
        assert message in error_of(ended)
        assert {name: data for name, data in files_of(made).items() if not name.startswith("out/")} == before
    finally:
        shutil.rmtree(made / "out", ignore_errors=True)


RECIPES = [
    ("pairs: p\ndownload: {shard_sise: 3}", "download.shard_sise: Extra inputs are not permitted (got 3)"),
    ("pairs: p\ndownload: {shard_size: none}", "download.shard_size: Input should be a valid integer"),
    ("download: {}", "a recipe names `pairs`, `shards` or `pictures`, one of them"),
    ("- pairs", "a recipe is a mapping of stages"),
    ("pairs: pairs.parquet\nreshard: [{subset: top40}]", "subset 'top40' is not there"),
    ("pairs: pairs.parquet\ntrain: [{name: ../x}]", "train.0.name: String should match pattern"),
    ("pairs: pairs.parquet\ntrain: [{name: a}]", "9 samples to train on, fewer than a `batch_size` of 256"),
    ("pairs: pairs.parquet\ntrain: [{name: a, lock_image: true}]", "`lock_image` needs a trained image tower"),
]


@pytest.mark.parametrize(("text", "message"), RECIPES)
def test_a_wrong_recipe(work: Path, command, text: str, message: str) -> None:
    (work / "recipe.yaml").write_text(text)
    ended = command("run", work / "recipe.yaml")
    assert ended.status == 2
    assert message in error_of(ended)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_half_done_folder_with_another_recipe_loses_nothing(work: Path, command) -> None:
    """As a job leaves it that was stopped after its first shard."""
    path = Path(manifest_path(str(work / "shards")))
    path.write_text(path.read_text().replace('"complete"', '"running"'))
    (work / "shards" / "00001_stats.json").unlink()
    before = files_of(work)
    ended = command("download", "--pairs", work / "pairs.parquet", "--out", work / "shards", "--shard-size", "6")
    assert ended.status == 2
    assert "half done with another recipe or input" in error_of(ended) and "--shard-size was 8, now 6" in ended.err
    assert files_of(work) == before


def test_more_failures_than_the_budget_allows_keep_the_work(made: Path, command) -> None:
    found = read_manifest(str(made / "shards"))
    assert found is not None and found.complete and found.counts.shown["success"] == 9
    options = found.asked | {"max_failure_share": 0.2}
    arguments = ["--shard-size", "8", "--allow-host", options["allow_hosts"][0], "--max-failure-share", "0.2"]
    ended = command("download", "--pairs", made / "pairs.parquet", "--out", made / "shards", *arguments)
    assert ended.status == 3
    assert error_of(ended).startswith("3 of 12 pairs failed (25.0%), more than --max-failure-share 0.2 allows")


def test_a_larger_budget_is_no_other_recipe_and_404_is_not_retried(made: Path, command) -> None:
    found = read_manifest(str(made / "shards"))
    assert found is not None
    arguments = ["--shard-size", "8", "--allow-host", found.asked["allow_hosts"][0], "--max-failure-share", "0.25"]
    ended = command(
        "download", "--pairs", made / "pairs.parquet", "--out", made / "shards", *arguments, "--retry-failed"
    )
    assert ended.status == 0
    assert ended.err == f"{made / 'shards'}: no failed row is retryable; there is nothing to retry\n"
    assert "success 9" in ended.out and "pass_1" not in ended.out


def test_the_installed_command_ends_as_the_function_does(made: Path) -> None:
    for arguments, status, message in (
        (["run", "nowhere.yaml"], 2, "clipsieve: nowhere.yaml: no such recipe"),
        (["score", "--shards"], 2, "requires an argument"),
    ):
        ended = subprocess.run([CLIPSIEVE, *arguments], capture_output=True, text=True, cwd=made, check=False)
        assert ended.returncode == status
        assert message in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert f"Example: clipsieve {name}" in " ".join(shown.output.split())


def test_there_is_no_other_command() -> None:
    registered = [info.name or info.callback.__name__ for info in app.registered_commands if info.callback]
    assert sorted(registered) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_words_for_every_flag(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert not [parameter.name for parameter in command.params if len(parameter.help.split()) < 2]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("download", "--shard-size <int>"),
        ("download", "--max-aspect-ratio <float|none>"),
        ("download", "--encode-format <jpg|png|webp>"),
        ("dedup", "--method <exact|perceptual|thumbnail|semantic>"),
        ("select", "--fraction <float|none>"),
        ("train", "--grad-clip <float|none>"),
        ("train", "--learning-rate-batch <int|none> batch size for which --learning-rate is given"),
        ("train", "--betas <float> <float>"),
    ],
)
def test_help_says_what_a_flag_takes(name: str, line: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "240", "TERM": "dumb"})
    assert line in " ".join(shown.output.split())


def test_flags_and_recipe_say_the_same(made: Path, command, tmp_path: Path) -> None:
    flags = ["--fraction", "50", "--fraction", "12.5", "--size", "3", "--size", "1", "--seed", "7"]
    ended = command("select", "--scores", made / "scores", "--out", tmp_path, *flags, *ONE_WORKER)
    assert (ended.status, ended.out) == (0, f"{tmp_path}: pairs 9, eligible 9\n")
    found = read_manifest(str(tmp_path / "subsets"))
    assert found is not None
    assert found.recipe == options.SelectOptions(fractions=(12.5, 50), sizes=(3, 1), seed=7)
    assert found.counts.shown == {"top12.5": 1, "top50": 4}


def test_beam_options_reach_the_runner(made: Path, command, monkeypatch, tmp_path: Path) -> None:
    """The pipeline that the job builds has the options that stood after ``--``."""
    built = []
    new_pipeline = runner.new_pipeline

    def watched(*arguments):
        built.append(new_pipeline(*arguments))
        return built[-1]

    monkeypatch.setattr(runner, "new_pipeline", watched)
    beam_options = ["--runner=DirectRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=3"]
    ended = command("select", "--scores", made / "scores", "--out", tmp_path, "--", *beam_options)
    assert ended.status == 0, ended.err
    options = built[0]._options.view_as(DirectOptions)
    assert (options.direct_running_mode, options.direct_num_workers) == ("multi_threading", 3)
    assert type(built[0].runner).__module__.startswith("apache_beam.runners.direct")
