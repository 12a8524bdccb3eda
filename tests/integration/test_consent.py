"""Owners' wishes, from the web to the model: what robots.txt, headers or the user's list forbid is in no folder."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from clipsieve.schemas.run import read_run
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.uid import uid_of
from tests.integration.conftest import TINY_TOWER

FREE = 20
HEADERS = {
    "/noai.png": {"X-Robots-Tag": "max-image-preview:large, noai"},
    "/noindex.png": {"X-Robots-Tag": "noindex"},
    "/google.png": {"X-Robots-Tag": "googlebot: noindex"},
    "/tdm.png": {"tdm-reservation": "1"},
}
ROBOTS = b"User-agent: *\nDisallow: /\n\nUser-agent: clipsieve\nDisallow: /private/\n"
LISTED = ["/listed-url.png", "/listed-uid.png", "/listed-target.png"]
CONSENT = {
    "/noai.png": "x_robots_tag",
    "/noindex.png": "x_robots_tag",
    "/google.png": "allowed",
    "/tdm.png": "tdm_reservation",
    "/private/1.png": "robots_txt",
    "/to-private.png": "robots_txt",
    "/listed-url.png": "opt_out_list",
    "/listed-uid.png": "opt_out_list",
    "/listed-target.png": "opt_out_list",
    "/gone.png": None,
    **{f"/{number}.png": "allowed" for number in range(FREE)},
}


@dataclass
class Web:
    """Two names of one server, and the paths that it was asked for, by name."""

    address: str
    other: str
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.headers["Host"], self.path))
            redirects = {
                "/to-private.png": "/private/2.png",
                "/listed-target.png": f"http://{served.other}/target.png",
            }
            body = ROBOTS if self.path == "/robots.txt" else _png(self.path)
            status = 404 if self.path == "/gone.png" else 302 if self.path in redirects else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", redirects[self.path])
            for name, value in HEADERS.get(self.path, {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        served = Web(f"127.0.0.1:{server.server_port}", f"localhost:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def _png(path: str) -> bytes:
    pixels = np.random.default_rng(list(path.encode())).integers(0, 256, (24, 24, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _uid(web: Web, path: str) -> str:
    return uid_of(f"http://{web.address}{path}", f"the picture {path}")


@pytest.fixture(scope="module")
def run(web: Web, status_of: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by a recipe that names a list next to it."""
    out = tmp_path_factory.mktemp("consent")
    pairs = {
        "url": [f"http://{web.address}{path}" for path in CONSENT],
        "caption": [f"the picture {p}" for p in CONSENT],
    }
    pq.write_table(pa.table(pairs), out / "pairs.parquet")
    (out / "tower.json").write_text(json.dumps(TINY_TOWER))
    uid = _uid(web, "/listed-uid.png")
    (out / "list.txt").write_text(
        f"# wishes\n{uid}\nhttps://example.org/\nhttp://{web.address}/listed-url.png\nlocalhost\n"
    )
    training = {"tower": str(out / "tower.json"), "samples": 20, "batch_size": 10, "warmup_steps": 1}
    recipe = {
        "pairs": "pairs.parquet",
        "opt_out": "list.txt",
        "download": {"allow_hosts": [web.address, web.other], "shard_size": 16},
        "score": {"references": ["builtin"]},
        "select": {"fractions": [50, 100]},
        "reshard": [{"subset": "top100"}],
        "train": [{"name": "all", **training}],
    }
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert status_of("run", str(out / "recipe.yaml"), "--", "--runner=FnApiRunner") == 0
    return out


def _rows(folder: Path) -> Iterator[dict]:
    for path in sorted(folder.glob("*.parquet")):
        yield from pq.read_table(path).to_pylist()


def test_each_row_says_what_decided(run: Path, web: Web) -> None:
    found = {row["url"].removeprefix(f"http://{web.address}"): row for row in _rows(run / "shards")}
    assert {path: row["consent"] for path, row in found.items()} == CONSENT
    for path, row in found.items():
        is_opted_out = CONSENT[path] not in ("allowed", None)
        assert (row["error_class"] == "opted_out") == is_opted_out, path
        assert (row["status"] == "success") == (CONSENT[path] == "allowed"), path


def test_what_the_list_or_robots_txt_forbid_is_not_asked_for(web: Web, run: Path) -> None:
    asked = {path for _, path in web.asked}
    assert not asked & {"/private/1.png", "/private/2.png", "/listed-url.png", "/listed-uid.png"}
    assert {f"/{number}.png" for number in range(FREE)} < asked
    assert web.asked.count((web.address, "/robots.txt")) == 1


def test_no_folder_holds_what_was_forbidden(run: Path, web: Web) -> None:
    allowed = {_uid(web, path) for path, consent in CONSENT.items() if consent == "allowed"}
    for folder in ("scores", "selection", "resharded/top100"):
        assert {row["uid"] for row in _rows(run / folder)} == allowed, folder
    for folder in ("shards", "resharded/top100"):
        tars = (run / folder).glob("*.tar")
        assert {sample.metadata["uid"] for tar in tars for sample in iter_samples(str(tar))} == allowed
    counts = {name: made.counts.shown for name, made in read_run(str(run)).manifests.items()}
    assert counts["shards"]["error_opted_out"] == len(CONSENT) - 1 - len(allowed)
    for name in ("scores", "selection", "resharded/top100", "models/all"):
        assert (counts[name]["pairs"], counts[name]["opted_out"]) == (len(allowed), 0)
    digests = {made.inputs["opt_out"] for made in read_run(str(run)).manifests.values()}
    assert len(digests) == 1


def test_verify_holds_the_folders_against_the_list(run: Path, web: Web, status_of: Callable[..., int], capsys) -> None:
    assert status_of("verify", str(run), "--opt-out", str(run / "list.txt")) == 0
    assert "1 uids, 2 URLs, 1 domains; none of their pairs" in capsys.readouterr().out
    longer = run / "longer.txt"
    longer.write_text((run / "list.txt").read_text() + f"http://{web.address}/7.png\n")
    assert status_of("verify", str(run), "--opt-out", str(longer)) == 1
    assert f"uid {_uid(web, '/7.png')}" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["download", "score", "select", "train"])
def test_a_changed_list_is_refused_where_a_folder_was_made_with_another(
    run: Path, web: Web, stage: str, status_of: Callable[..., int], capsys
) -> None:
    changed = run / "changed.txt"
    changed.write_text("0" * 32 + "\n")
    shards = ["--shards", str(run / "shards")]
    hosts = ["--allow-host", web.address, "--allow-host", web.other]
    training = ["--samples", "20", "--batch-size", "10", "--warmup-steps", "1", "--tower", str(run / "tower.json")]
    where = {
        "download": ["--pairs", str(run / "pairs.parquet"), "--out", str(run / "shards"), "--shard-size", "16", *hosts],
        "score": [*shards, "--out", str(run / "scores")],
        "select": ["--scores", str(run / "scores"), "--out", str(run), "--fraction", "50", "--fraction", "100"],
        "train": [*shards, "--out", str(run / "models" / "all"), *training],
    }
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert status_of(stage, *where[stage], "--opt-out", str(changed)) == 2
    assert "done with another recipe or input: --opt-out was" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_later_list_is_heeded_from_score_on(run: Path, web: Web, tmp_path: Path, status_of, capsys) -> None:
    """The shards were made before it: a pair that it names goes no further."""
    later = tmp_path / "later.txt"
    later.write_text(f"http://{web.address}/3.png\n{_uid(web, '/4.png')}\n")
    scores, training = tmp_path / "scores", ["--samples", "20", "--batch-size", "10", "--warmup-steps", "1"]
    shards, opt_out = ["--shards", str(run / "shards")], ["--opt-out", str(later)]
    beam = ["--", "--runner=FnApiRunner"]
    assert status_of("select", "--scores", str(run / "scores"), "--out", str(tmp_path), *opt_out) == 2
    assert "it lists URLs or domains" in capsys.readouterr().err
    assert status_of("score", *shards, "--out", str(scores), *opt_out, *beam) == 0
    assert (
        status_of("select", "--scores", str(scores), "--out", str(tmp_path), "--fraction", "100", *opt_out, *beam) == 0
    )
    model = str(tmp_path / "models" / "all")
    assert status_of("train", *shards, "--out", model, "--tower", str(run / "tower.json"), *training, *opt_out) == 0
    allowed = sum(consent == "allowed" for consent in CONSENT.values())
    for name, made in read_run(str(tmp_path)).manifests.items():
        if name in ("scores", "models/all"):
            assert (made.counts.shown["pairs"], made.counts.shown["opted_out"]) == (allowed - 2, 2), name
    assert read_run(str(tmp_path)).manifests["subsets"].counts.shown == {"top100": allowed - 2}
