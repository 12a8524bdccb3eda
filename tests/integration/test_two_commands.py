"""Two commands at once in one folder: the second is refused, and the first ends as if it had been alone."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.commands import CLIPSIEVE

WAIT = 60


@dataclass
class Web:
    """A server that has been asked, and does not answer before it may."""

    address: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def web() -> Iterator[Web]:
    held, picture = Web(), io.BytesIO()
    Image.new("RGB", (24, 24), "red").save(picture, "PNG")

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked.set()
            held.may_answer.wait(WAIT)
            self.send_response(200)
            self.send_header("Content-Length", str(len(picture.getvalue())))
            self.end_headers()
            self.wfile.write(picture.getvalue())

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        held.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield held
        held.may_answer.set()
        server.shutdown()
        thread.join()


def _tree(folder: Path) -> dict[str, bytes]:
    """What lies in the folder, but for what a command at work has not finished."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if ".tmp." not in name}


def test_a_second_download_into_a_folder_is_refused(web: Web, tmp_path: Path) -> None:
    rows = {"url": [f"http://{web.address}/{n}.png" for n in range(3)], "caption": ["a", "b", "c"]}
    pq.write_table(pa.table(rows), tmp_path / "pairs.parquet")
    out = tmp_path / "shards"
    command = [CLIPSIEVE, "download", "--pairs", str(tmp_path / "pairs.parquet"), "--out"]
    options = ["--allow-host", web.address, "--read-timeout", str(WAIT), "--total-timeout", str(WAIT)]
    options += ["--no-robots-txt", "--", "--runner=FnApiRunner"]
    with subprocess.Popen([*command, str(out), *options], stderr=subprocess.DEVNULL) as first:
        assert web.asked.wait(WAIT)
        before = _tree(out)
        second = subprocess.run([*command, str(out), *options], capture_output=True, text=True, check=False)
        meanwhile = _tree(out)
        web.may_answer.set()
        assert first.wait(WAIT) == 0
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == (
        f"clipsieve: {out}: another command is at work in this folder; wait for its end, or choose another --out\n"
    )
    assert meanwhile == before
    written = _tree(out)
    assert [path.name for path in sorted(out.iterdir())] == [
        *("00000.parquet", "00000.tar", "00000_stats.json", "_manifest")
    ]
    again = subprocess.run([*command, str(out), *options], capture_output=True, text=True, check=False)
    assert (again.returncode, _tree(out)) == (0, written)
