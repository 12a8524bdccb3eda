"""A download through a network that goes away for longer than every deadline, and comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.interruption.namespaces import namespace
from tests.integration.interruption.runs import Job, begun, content, finish, noisy_png, wait_for

ADDRESS, PORT = "192.0.2.2", "80"
ROWS = 120
OPTIONS = "--shard-size 10 --host-rate 8 --connect-timeout 1 --read-timeout 2 --total-timeout 4"
OUTAGE_SECONDS = 10


def test_a_network_that_is_gone_for_a_while_costs_no_row(tmp_path: Path) -> None:
    """Cut at the client, nothing can be sent; then at the server, nothing comes back. Every other page is missing."""
    pages = tmp_path / "pages"
    pages.mkdir()
    for row in range(0, ROWS, 2):
        (pages / f"{row}.png").write_bytes(noisy_png(row))
    urls = [f"http://{ADDRESS}:{PORT}/{row}.png" for row in range(ROWS)]
    job = Job(tmp_path / "pairs.parquet", f"{ADDRESS}:{PORT}")
    pq.write_table(pa.table({"url": urls, "caption": [f"picture {row}" for row in range(ROWS)]}), job.pairs)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with two_ends() as ends, served(ends["server"], pages):
        finish([*ends["client"], *job.command(whole, *OPTIONS.split())])
        with begun([*ends["client"], *job.command(cut, *OPTIONS.split())]) as running:
            for end in ("client", "server"):
                wait_for_a_shard(cut)
                subprocess.run([*ends[end], "ip", "link", "set", end, "down"], check=True)
                with pytest.raises(subprocess.TimeoutExpired):
                    running.process.wait(OUTAGE_SECONDS)
                subprocess.run([*ends[end], "ip", "link", "set", end, "up"], check=True)
            assert running.ended()[0] == 0
    counts = content(whole)["_manifest/manifest.json"]["counts"]
    assert (counts["success"], counts["error_http_error"]) == (ROWS / 2, ROWS / 2)
    assert content(cut) == content(whole)


def wait_for_a_shard(folder: Path) -> None:
    """Wait until one more shard is done than now."""
    before = set(folder.glob("*_stats.json"))
    wait_for(lambda: set(folder.glob("*_stats.json")) > before)


@contextmanager
def served(end: list[str], folder: Path) -> Iterator[None]:
    command = [sys.executable, "-u", "-m", "http.server", PORT, "--bind", ADDRESS, "--directory", str(folder)]
    with subprocess.Popen([*end, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None and b"Serving" in server.stdout.readline()
            yield
        finally:
            server.kill()


@contextmanager
def two_ends() -> Iterator[dict[str, list[str]]]:
    """Two networks joined by a cable; yields the words before a command that let it run at its end `client`, `server`.

    Workers and their driver speak over loopback, which no cut of the cable touches.
    """
    with namespace("--net") as client, namespace("--net", inside=client) as server:

        def ip(end: list[str], *words: str) -> None:
            subprocess.run([*end, "ip", *words], check=True)

        ip(client, "link", "add", "client", "type", "veth", "peer", "name", "server", "netns", server[2])
        for end, name, address in ((client, "client", "192.0.2.1/24"), (server, "server", f"{ADDRESS}/24")):
            ip(end, "addr", "add", address, "dev", name)
            ip(end, "link", "set", name, "up")
            ip(end, "link", "set", "lo", "up")
        yield {"client": client, "server": server}
