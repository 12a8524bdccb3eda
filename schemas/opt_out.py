"""The opt-out list: uids, URLs and domains that no stage may use, one a line of a text file.

::

    # wishes of October                          a comment, as is what follows a # after a space
    0123456789abcdef0123456789abcdef             a uid
    https://example.org/paintings/7.jpg          a URL
    example.com                                  a domain, and all below it

Each entry takes 16 bytes of memory, so tens of millions fit into every worker.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from yarl import URL

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_strings, find
from clipsieve.schemas.tables import SHARDS, check_columns
from clipsieve.schemas.uid import UID_PATTERN, uid_bytes

INPUT_NAME = "opt_out"
"""Under which the list's digest stands among a manifest's inputs."""

OPTED_OUT = "opted_out"
"""How manifests count, and a selection rejects, the pairs that the list names."""

_BLOCK_BYTES = 1 << 20
_ONLY_UIDS = re.compile(rb"(?:[0-9a-f]{32}\n)+")
_COMMENT = re.compile(r"(?:^|\s)#")
_DOMAIN = re.compile(r"(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


@dataclass(frozen=True)
class OptOut:
    """An opt-out list; without a path the empty one, which forbids nothing. Entries are bytes[N] of 16, ascending."""

    path: str | None
    digest: str
    """Hex SHA-256 of the file."""
    uids: np.ndarray
    urls: np.ndarray
    domains: np.ndarray

    @property
    def inputs(self) -> dict[str, str]:
        """The list as an input of a manifest; nothing where there is no list."""
        return {INPUT_NAME: self.digest} if self.path else {}

    def forbids_url(self, url: str) -> bool:
        """Whether the list names the URL, be it by http or https, or the domain of its host."""
        if not self._names_places:
            return False
        parsed = _parsed(url)
        if parsed is None:
            return False
        return _holds(self.urls, [_url_key(parsed)]) or _holds(self.domains, _and_parents(_host(parsed)))

    def forbids_uids(self, uids: np.ndarray) -> np.ndarray:
        """uids uint8[N, 16] -> bool[N]: which of them the list names."""
        return find(self.uids, uids)

    def forbids_rows(self, rows: pa.Table, path: str) -> np.ndarray:
        """bool[N]: which rows of a shard's table the list names by uid, url or final_url; ``path`` is the table's.

        Raises InputError when the list names URLs or domains and the table has no url.
        """
        forbidden = self.forbids_uids(uid_bytes(rows["uid"]))
        if self._names_places:
            check_columns(rows.schema, SHARDS, path, ["url"])
            for name in set(self.columns) & set(rows.schema.names):
                forbidden |= np.array([bool(url) and self.forbids_url(url) for url in rows[name].to_pylist()], bool)
        return forbidden

    def expect_applied(self, *made_from: Manifest | None) -> None:
        """Refuse to proceed from uids alone, unless the list has no URLs and domains or was applied before them.

        ``made_from`` are the manifests of the inputs; one of them that records this list is enough.
        """
        if self._names_places and not any(m and m.inputs.get(INPUT_NAME) == self.digest for m in made_from):
            raise InputError(
                f"{self.path}: it lists URLs or domains, and uids alone do not tell whose they are; run score, and "
                "what follows it, with this list first"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a shards table that `forbids_rows` looks at besides the uid, where they are there."""
        return ("url", "final_url") if self._names_places else ()

    @property
    def _names_places(self) -> bool:
        return bool(len(self.urls) or len(self.domains))


@lru_cache(maxsize=2)
def load_opt_out(path: str | None) -> OptOut:
    """Read the list at ``path``; None is the empty list. A wrong line is an InputError that names it.

    Workers call this too: the list is read once a process.
    """
    if path is None:
        nothing = np.zeros(0, "S16")
        return OptOut(None, hashlib.sha256().hexdigest(), nothing, nothing, nothing)
    digest, line_number = hashlib.sha256(), 0
    blocks: dict[str, list[np.ndarray]] = {kind: [np.zeros(0, "S16")] for kind in ("uid", "url", "domain")}
    with files.open_read(path) as stream:
        while block := stream.read(_BLOCK_BYTES) + stream.readline():
            digest.update(block)
            for kind, keys in _entries(block, path, line_number).items():
                blocks[kind].append(_strings(keys))
            line_number += block.count(b"\n")
    uids, urls, domains = (np.sort(np.concatenate(kept)) for kept in blocks.values())
    return OptOut(path, digest.hexdigest(), uids, urls, domains)


def _entries(block: bytes, path: str, before: int) -> dict[str, bytes]:
    """The keys of some lines' entries by kind, 16 bytes each; ``before`` is how many lines the file has before them."""
    if _ONLY_UIDS.fullmatch(block):  # as most of a long list is, and far faster than line by line
        return {"uid": bytes.fromhex(block.decode())}
    lines = block.removesuffix(b"\n").split(b"\n")
    found = [_entry(line, f"{path}: line {number}") for number, line in enumerate(lines, before + 1)]
    kinds = {entry[0] for entry in found if entry}
    return {kind: b"".join(entry[1] for entry in found if entry and entry[0] == kind) for kind in kinds}


def _entry(line: bytes, where: str) -> tuple[str, bytes] | None:
    """The kind and key of a line's entry; None for a line without one."""
    try:
        text = _COMMENT.split(line.decode("utf-8-sig"), maxsplit=1)[0].strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8; save the list as UTF-8") from error
    if not text:
        return None
    if UID_PATTERN.fullmatch(text.lower()):
        return "uid", bytes.fromhex(text)
    url = _parsed(text if "://" in text else f"http://{text}")
    if url is not None and "://" in text:
        return "url", _key(_url_key(url))
    if url is not None and _DOMAIN.fullmatch(_host(url)) and url.with_host("a") == URL("http://a"):
        return "domain", _key(_host(url))
    raise InputError(f"{where}: {text[:80]!r} is no uid (32 hex digits), URL (with ://) or domain; fix or remove it")


def _parsed(url: str) -> URL | None:
    """The URL as the fetcher reads it, its host in lower case and in ASCII; None for what is no URL with a host."""
    try:
        parsed = URL(url.strip())
        return parsed if parsed.host and parsed.host.strip(".") else None
    except ValueError:
        return None


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().rstrip(".")


def _url_key(url: URL) -> str:
    """The URL without scheme, its default port, credentials and fragment."""
    port = "" if url.is_default_port() else f":{url.port}"
    return f"{_host(url)}{port}{url.raw_path_qs}"


def _and_parents(host: str) -> list[str]:
    """a.b.org -> a.b.org, b.org, org"""
    labels = host.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _strings(keys: bytes) -> np.ndarray:
    return as_strings(np.frombuffer(keys, np.uint8).reshape(-1, 16))


def _holds(entries: np.ndarray, texts: Iterable[str]) -> bool:
    keys = b"".join(_key(text) for text in texts)
    return bool(find(entries, np.frombuffer(keys, np.uint8).reshape(-1, 16)).any())
