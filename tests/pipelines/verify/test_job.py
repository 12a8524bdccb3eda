"""A sound run passes; whatever is changed in it afterwards is found, and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.engine.parts import folder_digest, part_of, read_parts, write_parts
from clipsieve.pipelines.filters import job as filtering
from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.verify import job as verify
from clipsieve.schemas import files
from clipsieve.schemas.counts import Counts
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.manifest import begin, finish, input_digest, weighted_subset
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.options import (
    DownloadOptions,
    EvaluateOptions,
    FilterOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
)
from clipsieve.schemas.results import RESULTS_NAME, results_digest
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.training import tokenizer

IN_PROCESS = ["--runner=FnApiRunner"]
PAIRS = 60


class Images(BaseHTTPRequestHandler):
    """/7.jpg is the image of seed 7; every ninth is missing."""

    def __init__(self, encode: Callable[[int], bytes], *args) -> None:
        self.encode = encode
        super().__init__(*args)

    def do_GET(self) -> None:
        number = self.path.removeprefix("/").removesuffix(".jpg")
        found = number.isdigit() and int(number) % 9 != 8  # there is no robots.txt
        body = self.encode(int(number)) if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture(scope="module")
def address(encode_image: Callable[[int], bytes]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Images, encode_image))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def sound_run(address: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run: 60 pairs, 2 of them twice, every ninth not found; 3 shards."""
    run = tmp_path_factory.mktemp("run")
    rows = [*range(PAIRS), 3, 4]
    urls, captions = [f"http://{address}/{row}.jpg" for row in rows], [f"thing {row}" for row in rows]
    pq.write_table(pa.table({"url": urls, "caption": captions}), run / "pairs.parquet")
    options = DownloadOptions(shard_size=24, allow_hosts=(address,))
    download.run(str(run / "pairs.parquet"), str(run / "shards"), options, IN_PROCESS)
    score.run(str(run / "shards"), str(run / "scores"), ScoreOptions(references=(str(tiny_model),)), IN_PROCESS)
    select.run(str(run / "scores"), str(run), SelectOptions(fractions=(40, 80), sizes=(10, 25)), IN_PROCESS)
    subset, out = run / "subsets" / "top40.npy", run / "resharded" / "top40"
    reshard.run(str(run / "shards"), str(subset), str(out), ReshardOptions(shard_size=12), IN_PROCESS)
    return run


@pytest.fixture
def a_run(sound_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_run, tmp_path / "run"))


def rewrite(path: Path, column: str, row: int, value: object) -> None:
    """Change one value of a Parquet file."""
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = value
    index = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(index, table.schema.field(index), pa.array(values, table.schema.types[index])), path
    )


def test_a_sound_run_passes(sound_run: Path) -> None:
    checks = {check.what: check.detail for check in verify.run(str(sound_run))}
    assert checks["shards"].startswith("62 rows = 2 duplicates + 54 downloaded + 6 failed, in 3 shards")
    assert checks["dead letters"].startswith("6 rows, just those that failed in the end")
    assert checks["scores"].startswith("54 pairs, exactly those downloaded")
    assert checks["subsets"].startswith("top40 21, top80 43: exactly the best of 54")
    assert checks["samples"].startswith("10, 25: exact, nested")
    assert "all of subsets/top40.npy" in checks["resharded/top40"]
    assert checks["models"] == "not there, not checked"
    assert checks["manifests"].startswith("6 recorded inputs")


def test_folders_that_are_not_there_are_said_so(a_run: Path) -> None:
    for name in ("shards", "subsets", "samples"):
        shutil.rmtree(a_run / name)
    checks = {check.what: check.detail for check in verify.run(str(a_run))}
    assert checks["shards"] == checks["subsets"] == "not there, not checked"
    assert "not there to compare with" in checks["scores"]
    assert "not there to compare with" in checks["resharded/top40"]


def flip_tar_byte(run: Path) -> None:
    path = run / "shards" / "00001.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 300] ^= 1
    path.write_bytes(data)


def flip_resharded_byte(run: Path) -> None:
    """Change an image in a resharded tar, and every digest that would tell of it."""
    folder = run / "resharded" / "top40"
    data = bytearray((folder / "00000.tar").read_bytes())
    before = xxhash.xxh3_128(data).hexdigest()
    data[data.index(b"\xff\xd8\xff") + 300] ^= 1
    (folder / "00000.tar").write_bytes(data)
    after = xxhash.xxh3_128(data).hexdigest()
    for name in ("00000_stats.json", "_parts.json"):
        (folder / name).write_text((folder / name).read_text().replace(before, after))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": folder_digest(read_parts(str(folder)))}))


def edit_manifest(name: str, **changes) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        path = run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def drop_last_member(run: Path) -> None:
    path = run / "subsets" / "top40.npy"
    np.save(path, np.load(path)[:-1])


def stale_subset(run: Path) -> None:
    path = run / "resharded" / "top40" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"subsets": [manifest["subsets"][0] | {"digest": "0"}]}))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (flip_tar_byte, r"shards/00001\.tar: its bytes are not those that its stats file describes"),
    (
        lambda run: rewrite(run / "shards/00000.parquet", "uid", 2, "0" * 32),
        r"shards/00000\.tar: row 3: the sample's uid is",
    ),
    (
        lambda run: rewrite(run / "shards/00000.parquet", "status", 2, "failed_to_resize"),
        r"00000\.parquet: 21 rows are success",
    ),
    (
        lambda run: rewrite(run / "shards/00002.parquet", "url", 0, "http://x"),
        r"00002\.parquet: its rows are not those",
    ),
    (
        lambda run: rewrite(run / "shards/00000.parquet", "tar_offset", 2, 512),
        r"00000\.tar: row 3: the sample's tar_offset",
    ),
    (
        lambda run: (run / "shards/00001_stats.json").unlink(),
        "shards: holds 2 finished shards, its manifest counts 3; restore the others",
    ),
    (
        edit_manifest("shards/_manifest/manifest.json", counts={"rows": 62, "duplicates": 2, "success": 55}),
        "shards: its manifest counts 55 of success, its shards 54",
    ),
    (lambda run: (run / "shards/00001.parquet").unlink(), r"00001\.parquet: no such file"),
    (
        lambda run: rewrite(run / "shards/_manifest/dead_letters.parquet", "retryable", 0, True),
        r"shards/_manifest/dead_letters\.parquet: row 1: is .*'retryable': True}, not .*'retryable': False}",
    ),
    (
        edit_manifest("shards/_manifest/manifest.json", status="running"),
        "shards: download is not finished there",
    ),
    (
        lambda run: rewrite(run / "scores/00000.parquet", "similarity", 0, 0.5),
        r"scores/00000\.parquet: its content",
    ),
    (lambda run: (run / "scores/00000.parquet").unlink(), r"scores/00000\.parquet: no such file"),
    (
        lambda run: rewrite(run / "selection/00001.parquet", "similarity", 0, 0.5),
        r"selection/00001\.parquet: its content",
    ),
    (drop_last_member, r"subsets/top40\.npy: its content"),
    (lambda run: (run / "samples/10.parquet").unlink(), r"samples/10\.parquet: no such file"),
    (
        flip_resharded_byte,
        r"resharded/top40/00000\.tar: sample of uid [0-9a-f]{32} is not the source's, byte for byte",
    ),
    (
        edit_manifest("resharded/top40/manifest.json", inputs={"shards": "0"}),
        "was made from other shards",
    ),
    (stale_subset, "resharded/top40: was made from another top40 than there is now"),
    (edit_manifest("subsets/manifest.json", inputs={"scores": "0"}), "subsets: was made from other scores"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_every_damage_is_named(a_run: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(a_run)
    with pytest.raises(ClipsieveError, match=message) as raised:
        verify.run(str(a_run))
    assert "\n" not in str(raised.value)


def relist(folder: Path) -> None:
    """Make a folder's list of parts and its manifest fit what was changed in it."""
    parts = [part_of(str(path)) for path in folder.iterdir() if path.suffix in (".parquet", ".npy")]
    write_parts(parts, str(folder))
    edit_manifest("manifest.json", digest=folder_digest(parts))(folder)


FORGERIES: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "scores",
        lambda f: rewrite(f / "00000.parquet", "uid", 1, "1" * 32),
        r"00000\.parquet: row 2: the pair's uid is 1111",
    ),
    (
        "scores",
        lambda f: rewrite(f / "00000.parquet", "similarity", 1, 2.0),
        r"00000\.parquet: row 2: no cosine",
    ),
    ("scores", lambda f: rewrite(f / "00000.parquet", "reference", 1, "other"), r"scored by \['other'\]"),
    (
        "selection",
        lambda f: rewrite(f / "00001.parquet", "similarity", 2, 0.99),
        r"a pair of lower similarity has a better quantile_rank",
    ),
    (
        "selection",
        lambda f: rewrite(f / "00001.parquet", "sample_rank", 2, 0.5),
        r"row 3: sample_rank is 0\.5, not 0\.",
    ),
    (
        "subsets",
        lambda f: shutil.copy(f / "top80.npy", f / "top40.npy"),
        r"top40\.npy: uid [0-9a-f]{32} should not be in it",
    ),
    (
        "subsets",
        lambda f: shutil.copy(f / "top40.parquet", f / "top80.parquet"),
        r"top80\.parquet: uid [0-9a-f]{32} is missing",
    ),
    (
        "subsets",
        lambda f: rewrite(f / "top40.parquet", "similarity", 2, 0.5),
        r"top40\.parquet: row 3: similarity is not",
    ),
    (
        "samples",
        lambda f: shutil.copy(f / "10.npy", f / "25.npy"),
        r"25\.npy: uid [0-9a-f]{32} is missing from it \(15 such uids\)",
    ),
]


@pytest.mark.parametrize(("name", "forge", "message"), FORGERIES)
def test_a_forgery_with_fitting_digests_is_found(
    a_run: Path, name: str, forge: Callable[[Path], object], message: str
) -> None:
    forge(a_run / name)
    relist(a_run / name)
    with pytest.raises(ClipsieveError, match=message):
        verify.run(str(a_run))


def test_models_and_evaluations_lead_back_to_their_origin(a_run: Path, tiny_model: Path) -> None:
    model, evaluation = a_run / "models" / "top40", a_run / "evaluations" / "top40"
    shutil.copytree(tiny_model, model)
    inputs = {"shards": input_digest(str(a_run / "shards"))}
    opened = begin(str(model), TrainOptions(), inputs, subsets=[weighted_subset(str(a_run / "subsets/top40.npy"))])
    weights = finish(str(model), opened, Counts(), sha256_file(str(model / WEIGHTS_NAME))).digest
    opened = begin(str(evaluation), EvaluateOptions(), {"model": str(weights)})
    (evaluation / RESULTS_NAME).write_text("{}\n")
    finish(str(evaluation), opened, Counts(), results_digest(str(evaluation)))
    checks = {check.what: check.detail for check in verify.run(str(a_run))}
    assert checks["models/top40"].startswith("its weights are those")
    assert checks["manifests"].startswith("9 recorded inputs")
    edit_manifest("manifest.json", inputs={"model": "0"})(evaluation)
    with pytest.raises(ClipsieveError, match="evaluations/top40: was made from another top40"):
        verify.run(str(a_run))
    (model / WEIGHTS_NAME).write_bytes(b"other")
    with pytest.raises(ClipsieveError, match="not the weights its manifest says"):
        verify.run(str(a_run))


def write_model(a_run: Path, tiny_model: Path, *subsets: WeightedSubset) -> Path:
    model = a_run / "models" / "mixed"
    shutil.copytree(tiny_model, model)
    opened = begin(str(model), TrainOptions(), {"shards": input_digest(str(a_run / "shards"))}, subsets=subsets)
    finish(str(model), opened, Counts(), sha256_file(str(model / WEIGHTS_NAME)))
    return model


@pytest.mark.parametrize("part", [0, 1])
def test_each_part_of_a_mixture_leads_back_to_its_subset(a_run: Path, tiny_model: Path, part: int) -> None:
    names = ("subsets/top40", "samples/10")
    model = write_model(a_run, tiny_model, *(weighted_subset(str(a_run / f"{name}.npy"), 0.5) for name in names))
    checks = {check.what: check.detail for check in verify.run(str(a_run))}
    assert checks["manifests"].startswith("9 recorded inputs")
    subsets = json.loads((model / "manifest.json").read_text())["subsets"]
    subsets[part]["digest"] = "0"
    edit_manifest("manifest.json", subsets=subsets)(model)
    message = f"models/mixed: was made from another {files.name_of(names[part])} than there is now"
    with pytest.raises(ClipsieveError, match=message):
        verify.run(str(a_run))


def test_a_tokenizer_is_the_one_that_was_trained(a_run: Path) -> None:
    shards, out = str(a_run / "shards"), a_run / "tokenizer"
    tokenizer.run(tokenizer.shard_captions(shards), {"shards": shards}, str(out), TokenizerOptions(vocab_size=20))
    checks = {check.what: check.detail for check in verify.run(str(a_run))}
    assert checks["tokenizer"].startswith("its SentencePiece model is the one")
    assert checks["manifests"].startswith("7 recorded inputs")
    edit_manifest("manifest.json", inputs={"shards": "0"})(out)
    with pytest.raises(ClipsieveError, match="tokenizer: was made from other shards than those in shards now"):
        verify.run(str(a_run))
    (out / "spiece.model").write_bytes(b"other")
    with pytest.raises(ClipsieveError, match=r"spiece\.model: not the SentencePiece model its manifest says"):
        verify.run(str(a_run))


def test_a_selection_made_with_other_filters_is_named(a_run: Path) -> None:
    scores, filters = str(a_run / "scores"), str(a_run / "filters")
    filtering.run(
        scores, filters, FilterOptions(rules=("long: caption_chars < 99",)), IN_PROCESS, str(a_run / "shards")
    )
    verify.run(str(a_run))
    edit_manifest("selection/manifest.json", inputs={"scores": input_digest(scores), "filters": "0"})(a_run)
    with pytest.raises(ClipsieveError, match="selection: was made from other filters than those in filters now"):
        verify.run(str(a_run))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        verify.run(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds none of shards, scores"):
        verify.run(str(tmp_path))
