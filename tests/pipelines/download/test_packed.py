"""Images that a server sends packed are unpacked within the byte limit; a stated sha256 is of either form."""

from __future__ import annotations

import gzip
import hashlib
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from clipsieve.pipelines.download import job as download
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.download.test_job import ONE_PROCESS, options, parquet, png, read_rows

IMAGE = png(3)
SENT = {
    "/gzip": ("gzip", gzip.compress(IMAGE, mtime=0)),
    "/deflate": ("deflate", zlib.compress(IMAGE)),
    "/called_gzip": ("gzip", IMAGE),
    "/called_br": ("br", IMAGE),
    "/br": ("br", b"\x8b\x07\x80" + IMAGE),
    "/page": ("gzip", gzip.compress(b"<html>")),
    "/bomb": ("gzip", gzip.compress(IMAGE + bytes(1 << 24))),
    "/damaged": ("gzip", gzip.compress(IMAGE)[:-9] + bytes(9)),
}


@pytest.fixture(scope="module")
def web():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            coding, body = SENT.get(self.path, ("", b""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Encoding", coding)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_each_is_unpacked_refused_by_name_or_taken_as_it_came(web, tmp_path):
    packed = SENT["/gzip"][1]
    rows = [
        ("/gzip", None, None, packed),
        ("/gzip", digest(packed), None, packed),
        ("/gzip", digest(IMAGE), None, IMAGE),
        ("/gzip", digest(b"another"), ErrorClass.HASH_MISMATCH, packed),
        ("/deflate", digest(IMAGE), None, IMAGE),
        ("/called_gzip", digest(IMAGE), None, IMAGE),
        ("/called_br", None, None, IMAGE),
        ("/br", None, ErrorClass.NOT_AN_IMAGE, SENT["/br"][1]),
        ("/page", None, ErrorClass.NOT_AN_IMAGE, SENT["/page"][1]),
        ("/bomb", None, ErrorClass.TOO_LARGE, SENT["/bomb"][1]),
        ("/damaged", None, ErrorClass.NOT_AN_IMAGE, SENT["/damaged"][1]),
    ]
    paths, stated, ends, recorded = zip(*rows, strict=True)
    columns = {"url": [web + path for path in paths], "caption": list(map(str, range(len(rows)))), "sha256": stated}
    download.run(parquet(tmp_path, pa.table(columns)), str(tmp_path / "out"), options(web), ONE_PROCESS)
    found = read_rows(tmp_path / "out")
    assert found["error_class"].to_pylist() == [end and end.value for end in ends]
    assert found["sha256"].to_pylist() == [digest(data) for data in recorded]
    assert found["byte_size"].to_pylist() == [len(data) for data in recorded]
    messages = dict(zip(paths, found["error_message"].to_pylist(), strict=True))
    assert messages["/br"].endswith(", in Content-Encoding br")
    assert "1000000 bytes in Content-Encoding gzip" in messages["/bomb"]
