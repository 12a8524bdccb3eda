from __future__ import annotations

import gc
import hashlib
import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.download import shard as download_shard
from clipsieve.pipelines.download.worker import process_worker
from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import Consent, ErrorClass
from clipsieve.schemas.uid import uid_of

ONE_PROCESS = ("--runner=FnApiRunner",)
PAGES = 16


def png(seed):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((96, 128)).save(stream, "PNG")
    return stream.getvalue()


IMAGES = [png(number) for number in range(PAGES)]


class Site(ThreadingHTTPServer):
    """Images by number, and a few pages that wait or lead elsewhere; counts what it is asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []
        self.last_is_asked = threading.Event()
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.base = f"http://{self.address}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.strip("/")
        if name == "waits":
            self.server.last_is_asked.wait(20)
        if name == "last":
            self.server.last_is_asked.set()
        if name == "leads":
            self._answer(302, b"", Location=f"{self.server.base}/3")
        elif name in ("waits", "last") or name.isdecimal():
            self._answer(200, IMAGES[int(name) if name.isdecimal() else 0])
        else:
            self._answer(404, b"nothing here")

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    site = Site()
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site():
    with serving() as running:
        yield running


def options(site, **more):
    values = {"shard_size": 4, "image_size": 64, "concurrency": 8, "robots_txt": False}
    return DownloadOptions(**{**values, **more}, allow_hosts=(site.address,))


def write(folder, rows):
    path = folder / "pairs.parquet"
    pq.write_table(pa.table(rows), path)
    return str(path)


def read_rows(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder).glob("*.parquet")))


def data_files(folder):
    """Every tar's bytes and every Parquet's content, by name."""
    tars = {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.tar"))}
    return tars | {path.name: tables.content_digest(str(path)) for path in sorted(Path(folder).glob("*.parquet"))}


def test_buckets_on_this_machine_and_a_shuffle_leave_the_same_rows_out(site, tmp_path):
    numbers = [0, 1, 0, 2, 3, 1, 4, 5, 6, 7, 8, 0, 5, 9]
    path = write(tmp_path, {"url": [f"{site.base}/{n}" for n in numbers], "caption": [f"c{n}" for n in numbers]})
    by_buckets = download.run(path, str(tmp_path / "buckets"), options(site))
    by_shuffle = download.run(path, str(tmp_path / "shuffle"), options(site), ONE_PROCESS)
    assert by_buckets.counts == by_shuffle.counts
    assert (by_buckets.counts.shown["rows"], by_buckets.counts.shown["duplicates"]) == (14, 4)
    assert data_files(tmp_path / "buckets") == data_files(tmp_path / "shuffle")
    assert read_rows(tmp_path / "buckets")["caption"].to_pylist() == [f"c{n}" for n in range(10)]


def test_bytes_other_than_the_input_says_are_a_class_of_their_own(site, tmp_path):
    digests = [hashlib.sha256(image).hexdigest() for image in IMAGES]
    rows = {
        "url": [f"{site.base}/{n}" for n in range(5)],
        "caption": ["c"] * 5,
        "sha256": [digests[0], digests[1].upper(), None, "", digests[0]],
    }
    path = write(tmp_path, rows)
    download.run(path, str(tmp_path / "out"), options(site), ONE_PROCESS)
    got = read_rows(tmp_path / "out")
    assert got["error_class"].to_pylist() == [None, None, None, None, "hash_mismatch"]
    assert got["status"].to_pylist() == ["success"] * 4 + ["failed_to_download"]
    message = got["error_message"].to_pylist()[4]
    assert digests[4][:12] in message
    assert digests[0][:12] in message
    assert got["sha256"].to_pylist() == digests[:5]
    assert got["source_sha256"].to_pylist() == rows["sha256"]
    assert got["byte_size"].to_pylist() == [len(image) for image in IMAGES[:5]]
    download.run(path, str(tmp_path / "unverified"), options(site, verify_sha256=False), ONE_PROCESS)
    assert read_rows(tmp_path / "unverified")["error_class"].to_pylist() == [None] * 5


def test_a_wrong_hash_is_found_before_any_url_is_asked_for(site, tmp_path):
    rows = {"url": [f"{site.base}/{n}" for n in range(5)], "caption": ["c"] * 5, "sha256": [None] * 4 + ["md5"]}
    with pytest.raises(InputError, match=r"pairs\.parquet: row 5: sha256 'md5' is not 64 hex digits"):
        download.run(write(tmp_path, rows), str(tmp_path / "out"), options(site))
    assert site.asked == []


def test_boxes_of_the_input_are_blurred(site, tmp_path):
    boxes = pa.array([[[0.0, 0.0, 0.5, 0.5]], [], None], pa.list_(pa.list_(pa.float64())))
    path = write(tmp_path, {"url": [f"{site.base}/{n}" for n in range(3)], "caption": ["c"] * 3, "faces": boxes})
    download.run(path, str(tmp_path / "blurred"), options(site, bbox_col="faces"), ONE_PROCESS)
    download.run(path, str(tmp_path / "plain"), options(site), ONE_PROCESS)
    blurred, plain = (read_rows(tmp_path / name) for name in ("blurred", "plain"))
    assert blurred["faces"].to_pylist() == boxes.to_pylist()
    differ = [a != b for a, b in zip(blurred["tar_size"].to_pylist(), plain["tar_size"].to_pylist(), strict=True)]
    assert differ[1:] == [False, False]
    assert (tmp_path / "blurred" / "00000.tar").read_bytes() != (tmp_path / "plain" / "00000.tar").read_bytes()


def test_listed_rows_are_not_asked_for_and_an_answer_from_a_listed_place_is_not_kept(site, tmp_path):
    urls = [f"{site.base}/{name}" for name in ("0", "1", "2", "leads")]
    path = write(tmp_path, {"url": urls, "caption": ["c"] * 4})
    wishes = tmp_path / "wishes.txt"
    wishes.write_text(f"{uid_of(urls[0], 'c')}\n{urls[1]}\n{site.base}/3\n")
    download.run(path, str(tmp_path / "out"), options(site), ONE_PROCESS, opt_out=str(wishes))
    rows = read_rows(tmp_path / "out")
    assert sorted(site.asked) == ["/2", "/3", "/leads"]
    opted_out, listed = ErrorClass.OPTED_OUT.value, Consent.OPT_OUT_LIST.value
    assert rows["error_class"].to_pylist() == [opted_out, opted_out, None, opted_out]
    assert rows["consent"].to_pylist() == [listed, listed, Consent.ALLOWED.value, listed]
    assert rows["attempts"].to_pylist() == [0, 0, 1, 1]
    assert rows["tar_size"].is_valid().to_pylist() == [False, False, True, False]


def test_the_next_shard_begins_while_the_last_url_of_one_is_waited_for(site, tmp_path):
    """The first shard's last page answers when the second shard's is requested."""
    names = ["0", "1", "2", "waits", "4", "5", "6", "last"]
    path = write(tmp_path, {"url": [f"{site.base}/{name}" for name in names], "caption": names})
    done = download.run(path, str(tmp_path / "out"), options(site, read_timeout=15, attempts=1), ONE_PROCESS)
    assert done.counts.shown["success"] == 8


def test_a_shard_that_may_hold_next_to_nothing_is_the_same(site, tmp_path, monkeypatch):
    names = [str(n) for n in range(PAGES)]
    path = write(tmp_path, {"url": [f"{site.base}/{name}" for name in names], "caption": names})
    download.run(path, str(tmp_path / "out"), options(site, shard_size=8), ONE_PROCESS)
    monkeypatch.setattr(download_shard, "_HELD_BYTES", 1)
    download.run(path, str(tmp_path / "narrow"), options(site, shard_size=8), ONE_PROCESS)
    assert data_files(tmp_path / "narrow") == data_files(tmp_path / "out")


def test_a_shard_that_cannot_be_written_ends_the_job_and_those_beside_it(site, tmp_path):
    """The second shard's tar has a folder in its way; the first one waits for a page that never comes."""
    names = ["0", "1", "2", "waits", "4", "5", "6", "7"]
    path = write(tmp_path, {"url": [f"{site.base}/{name}" for name in names], "caption": names})
    (tmp_path / "out" / "00001.tar").mkdir(parents=True)
    with pytest.raises(Exception, match=r"00001\.tar.*Is a directory"):
        download.run(path, str(tmp_path / "out"), options(site, read_timeout=3, attempts=1), ONE_PROCESS)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_process_has_one_worker_that_ends_when_nobody_holds_it():
    gc.collect()
    before = set(threading.enumerate())
    worker = process_worker(DownloadOptions(user_agent="once"))
    assert process_worker(DownloadOptions(user_agent="once")) is worker
    # The resolver's library has a thread of its own, which it starts when it likes.
    (loop,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "download"]
    assert process_worker(DownloadOptions(user_agent="other")) is not worker
    del worker
    gc.collect()
    assert not loop.is_alive()


def test_a_job_in_this_process_leaves_no_thread_behind(site, tmp_path):
    path = write(tmp_path, {"url": [f"{site.base}/{n}" for n in range(6)], "caption": ["c"] * 6})
    download.run(path, str(tmp_path / "out"), options(site), ONE_PROCESS)
    gc.collect()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("download", "report"))]
