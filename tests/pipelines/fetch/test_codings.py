from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.fetch.codings import decoded

BODY = b"\x89PNG\r\n" * 50
MOST = 1 << 20


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("deflate,gzip", gzip.compress(zlib.compress(BODY))),
        ("identity, gzip", gzip.compress(BODY)),
        ("aws-chunked,gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
        ("gzip", gzip.compress(BODY) + b"garbage after it"),
        ("gzip", gzip.compress(BODY)[:-8]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time into its bytes
)
def test_what_is_packed_is_unpacked(coding, sent):
    assert decoded(sent, coding, MOST) == BODY


@pytest.mark.parametrize("coding", [None, "", "identity", "gzip", "deflate", "br", "zstd", "utf-8", "gzip, gzip", ",,"])
def test_what_is_not_packed_is_taken_as_it_came(coding):
    for body in (BODY, b"\xff\xd8\xff\xe0", b"GIF89a", b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00damaged"):
        assert decoded(body, coding, MOST) == body


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate, lambda body: gzip.compress(body) * 99])
def test_no_more_is_unpacked_than_may_be(pack):
    bomb = pack(bytes(1 << 26))
    tracemalloc.start()
    coding = "gzip" if bomb.startswith(b"\x1f\x8b") else "deflate"
    unpacked = decoded(bomb, coding, MOST)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert unpacked == bytes(MOST)
    assert most < (1 << 25)


def test_a_bomb_in_a_bomb_is_stopped_too():
    bomb = gzip.compress(gzip.compress(bytes(1 << 26)))
    assert len(decoded(bomb, "gzip, gzip", MOST)) <= MOST


@given(st.binary(max_size=200), st.lists(st.sampled_from(["gzip", "deflate", "br", ""]), max_size=9).map(",".join))
def test_no_bytes_are_an_error(body, coding):
    assert len(decoded(body, coding, 100)) <= max(100, len(body))
