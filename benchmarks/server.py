"""A web server on loopback for the download benchmark: nginx where it is installed, else the quickstart's own."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from clipsieve.pipelines.quickstart.web import HOST, Page, serve

# One process without a master, so that it runs as whoever started it and may read a folder of theirs.
_NGINX = """\
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  types {{ image/jpeg jpg; }}
  client_body_temp_path temporary;
  proxy_temp_path temporary;
  fastcgi_temp_path temporary;
  uwsgi_temp_path temporary;
  scgi_temp_path temporary;
  server {{
    listen {address};
    root images;
  }}
}}
"""


@contextmanager
def serve_images(images: Mapping[str, bytes], folder: Path) -> Iterator[str]:
    """Serve ``images``, by name, from another process while the block runs; yields HOST:PORT."""
    serving = _nginx(images, folder) if shutil.which("nginx") else _own(images)
    with serving as address:
        yield address


@contextmanager
def _nginx(images: Mapping[str, bytes], folder: Path) -> Iterator[str]:
    (folder / "images").mkdir(parents=True)
    for name, data in images.items():
        (folder / "images" / name).write_bytes(data)
    with socket.create_server((HOST, 0)) as free:
        address = f"{HOST}:{free.getsockname()[1]}"
    (folder / "nginx.conf").write_text(_NGINX.format(address=address))
    nginx = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    subprocess.run(nginx, check=True)  # listens before it returns
    try:
        yield address
    finally:
        subprocess.run([*nginx, "-s", "stop"], check=True)


@contextmanager
def _own(images: Mapping[str, bytes]) -> Iterator[str]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve_until_told, args=(dict(images), theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def _serve_until_told(images: dict[str, bytes], connection: Connection) -> None:
    with serve({f"/{name}": Page(data) for name, data in images.items()}) as url:
        connection.send(url.removeprefix("http://"))
        connection.recv()
