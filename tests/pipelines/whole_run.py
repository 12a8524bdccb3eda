"""A small run through every stage that holds pairs, and a list of wishes for it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.pipelines.dedup import job as dedup
from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.drift import job as drift
from clipsieve.pipelines.filters import job as filters
from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.takedown import job as takedown
from clipsieve.pipelines.takedown.plan import TakedownPlan
from clipsieve.schemas import manifest
from clipsieve.schemas.counts import Counts
from clipsieve.schemas.options import (
    DedupOptions,
    DownloadOptions,
    DriftOptions,
    FilterOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
)
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.schemas.uid import uid_of
from clipsieve.training import tokenizer

IN_PROCESS = ["--runner=FnApiRunner"]
PAIRS = 66
MISSING = {8, 17, 26, 35, 44, 53, 62}
BUSY = {5, 16, 27}
"""Not to be had in the first pass; the last of them not in the second either."""
ELSEWHERE = {2, 8, 30}
"""Pages of the host that is listed as a domain, one of them missing."""
REPEATED = {51: 50}
"""A page that shows another's image."""
LISTED = {*ELSEWHERE, 12, 16, 27, 41}


@dataclass
class Run:
    folder: Path
    listed: Path
    urls: list[str]

    def caption(self, row: int) -> str:
        return f"the wished-for thing, number {row}"

    def uid(self, row: int) -> str:
        """Of its own choice: the URL has the server's port, which differs from run to run."""
        return uid_of(f"page {row}", self.caption(row))

    @property
    def published(self) -> Path:
        return self.listed.parent / "published.parquet"

    @property
    def gone(self) -> set[str]:
        return {self.uid(row) for row in LISTED}

    def take_down(self) -> TakedownPlan:
        return takedown.run(str(self.folder), str(self.listed))

    def copy(self, to: Path) -> Run:
        return Run(Path(shutil.copytree(self.folder, to / "run")), self.listed, self.urls)


def make_run(root: Path, encode_image: Callable[[int], bytes], model: Path) -> Run:
    """A run in ``root`` through every stage that holds pairs, with two passes of download."""
    busy = set(BUSY)

    class Images(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = self.path.removeprefix("/").removesuffix(".jpg")
            row = int(number) if number.isdigit() else None  # there is no robots.txt
            code = 404 if row is None or row in MISSING else 503 if row in busy else 200
            body = encode_image(REPEATED.get(row, row)) if row is not None and code == 200 else b""
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Images)
    thread = Thread(target=server.serve_forever)
    thread.start()
    hosts = tuple(f"{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    run = Run(
        root / "run", root / "wishes.txt", [f"http://{hosts[row in ELSEWHERE]}/{row}.jpg" for row in range(PAIRS)]
    )
    run.listed.write_text(f"{run.uid(12)}\n{run.uid(16)}\n{run.uid(27)}\n{run.urls[41]}\nlocalhost\n")
    _run_stages(run, hosts, model, busy)
    server.shutdown()
    server.server_close()
    thread.join()
    return run


def _run_stages(run: Run, hosts: tuple[str, ...], model: Path, busy: set[int]) -> None:
    out, rows = run.folder, [*range(PAIRS), 3, 12]
    (out / "pairs").mkdir(parents=True)
    table = {
        "uid": [run.uid(row) for row in rows],
        "url": [run.urls[row] for row in rows],
        "caption": [run.caption(row) for row in rows],
        "creator": rows,
    }
    pq.write_table(pa.table(table), out / "pairs" / "pairs.parquet")
    pairs, shards, scores = (str(out / name) for name in ("pairs/pairs.parquet", "shards", "scores"))
    options = DownloadOptions(shard_size=24, allow_hosts=hosts, attempts=1)
    download.run(pairs, shards, options, IN_PROCESS)
    busy -= {5, 16}
    download.run(pairs, shards, options, IN_PROCESS, retry_failed=True)
    score.run(shards, scores, ScoreOptions(references=(str(model),), embeddings=True), IN_PROCESS)
    _write_published(run)
    drift.run(shards, str(run.published), str(out / "drift"), DriftOptions(), scores)
    rules = FilterOptions(rules=("short: caption_chars > 30",))
    filters.run(scores, str(out / "filters"), rules, IN_PROCESS, shards)
    dedup.run(shards, scores, str(out / "dedup"), DedupOptions(methods=("exact",)), IN_PROCESS)
    cuts = SelectOptions(fractions=(40, 80), sizes=(10, 25), combinations=("top80_12",))
    select.run(scores, str(out), cuts, IN_PROCESS, filters=str(out / "filters"), dedup=str(out / "dedup"))
    for folder, name in (("subsets", "top80"), ("samples", "10")):
        subset, to = str(out / folder / f"{name}.npy"), str(out / "resharded" / name)
        reshard.run(shards, subset, to, ReshardOptions(shard_size=12), IN_PROCESS)
    write_model(out / "models" / "top80", shards, manifest.weighted_subset(str(out / "subsets" / "top80.npy")))
    write_model(out / "models" / "all", shards)
    parts = [("subsets/top40", 0.7), ("samples/10", 0.3)]
    write_model(
        out / "models" / "mixed", shards, *(manifest.weighted_subset(str(out / f"{p}.npy"), w) for p, w in parts)
    )
    captions = tokenizer.shard_captions(shards)
    tokenizer.run(captions, {"shards": shards}, str(out / "tokenizer"), TokenizerOptions(vocab_size=36))
    (out / "report").mkdir()
    (out / "report" / "index.html").write_text(f"<p>{run.caption(12)}</p>")


def _write_published(run: Run) -> None:
    """What the pool's publisher saw: of each sixth pair a picture of another shape."""
    sizes = {"width": [24 + 12 * (row % 6 == 0) for row in range(PAIRS)], "height": [24] * PAIRS}
    pq.write_table(pa.table({"uid": [run.uid(row) for row in range(PAIRS)], **sizes}), run.published)


def write_model(folder: Path, shards: str, *subsets: WeightedSubset) -> None:
    """A model folder as `train` leaves it, but for the weights."""
    folder.mkdir(parents=True)
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    inputs = {"shards": manifest.input_digest(shards)}
    begun = manifest.begin(str(folder), TrainOptions(), inputs, subsets=subsets)
    manifest.finish(str(folder), begun, Counts(), sha256_of(b"weights"))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
