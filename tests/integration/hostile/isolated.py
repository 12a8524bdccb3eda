"""A download inside a network namespace in which every forbidden address exists, and a public one too.

    unshare --user --map-root-user --net python -m tests.integration.hostile.isolated FOLDER

writes FOLDER/shards and FOLDER/seen.json. No host is allowed: the server of the good pages is public here.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.schemas.outcomes import ErrorClass
from tests.commands import CLIPSIEVE
from tests.integration.hostile.cases import Case
from tests.integration.hostile.names import NO_SUCH_NAME, REFUSED, SERVER_FAILURE, Zone, serve_names
from tests.integration.hostile.page import answer, page
from tests.integration.hostile.places import FORBIDDEN_HOSTS, moved
from tests.integration.hostile.server import HostileWeb, serve
from tests.integration.hostile.wire import IMAGE

PUBLIC = "1.2.3.4"
FORBIDDEN = (
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "198.18.0.1",
    "192.0.2.1",
    "203.0.113.1",
    "fd00::1",
    "fd00:ec2::254",
)
LOOPBACK = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254")

ZONE: Zone = {
    "public.test": [PUBLIC],
    "mixed.test": ["10.0.0.1", PUBLIC, "::1"],
    "alias.test": ["public.test", PUBLIC],
    "alias_of_private.test": ["private.test", "127.0.0.2"],
    "rebinds.test": lambda times: [PUBLIC] if times == 1 else ["127.0.0.2"],
    "private.test": ["127.0.0.2"],
    "metadata.test": ["169.254.169.254"],
    "private6.test": ["::1"],
    "mapped.test": ["::ffff:10.0.0.1"],
    "nat64.test": ["64:ff9b::a9fe:a9fe"],
    "unspecified.test": ["0.0.0.0", "::"],
    "missing.test": NO_SUCH_NAME,
    "empty.test": [],
    "failing.test": SERVER_FAILURE,
    "refused.test": REFUSED,
    "silent.test": None,
    "noise.test": b"\xff" * 40,
}
_NO_ADDRESS = (ErrorClass.FORBIDDEN_ADDRESS,)
_NO_NAME = (ErrorClass.HOST_NOT_FOUND,)
_NO_ANSWER = (ErrorClass.DNS_ERROR,)
ENDS: dict[str, tuple[ErrorClass | None, ...]] = {
    **dict.fromkeys(("public.test", "mixed.test", "alias.test", "rebinds.test"), (None,)),
    **dict.fromkeys(("missing.test", "empty.test"), _NO_NAME),
    **dict.fromkeys(("failing.test", "refused.test", "silent.test", "noise.test"), _NO_ANSWER),
}
FLAGS = {"--attempts": 2, "--connect-timeout": 4, "--read-timeout": 4, "--total-timeout": 10, "--host-concurrency": 64}


def cases(web: HostileWeb) -> list[Case]:
    main, forbidden = web.ports["main"], web.ports["forbidden"]
    names = [Case(name, f"http://{name}:{main}/sound", ENDS.get(name, _NO_ADDRESS)) for name in ZONE]
    again = [Case(f"again_{n}", f"http://rebinds.test:{main}/sound?{n}", (None,)) for n in range(3)]
    moves = [Case(name, web.url(name), page.ends) for name, page in web.pages.items()]
    hosts = [Case(host, f"http://{host}:{forbidden}/", _NO_ADDRESS) for host in FORBIDDEN_HOSTS]
    return [*names, *again, *moves, *hosts]


def pages() -> dict:
    hosts = {
        f"to_host_{n}": page(moved(f"http://{host}:{{forbidden}}/"), *_NO_ADDRESS)
        for n, host in enumerate(FORBIDDEN_HOSTS)
    }
    names = {f"to_{name}": page(moved(f"http://{name}:{{main}}/sound"), *ENDS.get(name, _NO_ADDRESS)) for name in ZONE}
    return {"sound": page(answer(IMAGE)), **hosts, **names}


def knock(web: HostileWeb) -> list[str]:
    """Connect once to every address that the download may not, to prove that they are there; returns what was met."""
    for address in (*FORBIDDEN, *LOOPBACK):
        with socket.create_connection((address, web.ports["forbidden"])) as caller:
            caller.recv(1)
    met, web.trespasses[:] = list(web.trespasses), []
    return met


def run(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, *FORBIDDEN):
        subprocess.run(
            ["ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])], check=True
        )
    with serve(pages(), folder, PUBLIC) as web, serve_names(ZONE) as server:
        met, rows = knock(web), cases(web)
        table = pa.table({"url": [case.url for case in rows], "caption": [case.name for case in rows]})
        pq.write_table(table, folder / "pairs.parquet")
        flags = [str(word) for flag in FLAGS.items() for word in flag]
        command = [CLIPSIEVE, "download", "--pairs", str(folder / "pairs.parquet")]
        command += ["--out", str(folder / "shards"), "--dns-server", server, *flags, "--", "--runner=FnApiRunner"]
        subprocess.run(command, check=True)
        ends = {case.name: [end and end.value for end in case.ends] for case in rows}
        seen = {"met": met, "trespasses": web.trespasses, "ends": ends}
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
