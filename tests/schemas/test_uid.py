import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas import uid

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_uid_is_the_head_of_the_sha256_of_url_nul_caption():
    expected = hashlib.sha256("http://example.org/ä.png\0Ein Bär".encode()).hexdigest()[:32]
    assert uid.uid_of("http://example.org/ä.png", "Ein Bär") == expected


def test_a_lone_surrogate_is_kept_in_the_hash():
    expected = hashlib.sha256(b"http://example.org/\0" + b"a \xed\xa0\x80").hexdigest()[:32]
    assert uid.uid_of("http://example.org/", "a \ud800") == expected


@given(st.text(), st.text())
def test_uid_takes_any_text(url, caption):
    assert uid.UID_PATTERN.fullmatch(uid.uid_of(url, caption))


def test_the_border_between_url_and_caption_counts():
    assert uid.uid_of("ab", "c") != uid.uid_of("a", "bc")


@given(st.lists(HEX))
def test_bytes_and_strings_are_inverse(uids):
    raw = uid.uid_bytes(pa.array(uids, pa.string()))
    assert raw.shape == (len(uids), 16)
    assert uid.uid_strings(raw) == uids
    assert uid.uid_array(raw).equals(pa.array(uids, pa.string()))
    assert (uid.uid_bytes(pa.array(uids, pa.large_string())) == raw).all()
    assert (uid.uid_bytes(pa.chunked_array([pa.array(["0" * 32, *uids]).slice(1)])) == raw).all()


@given(st.lists(st.none() | st.binary(min_size=16, max_size=16)))
def test_16_bytes_are_their_hex_digits(raw):
    texts = [value and value.hex() for value in raw]
    for dtype in (pa.binary(16), pa.binary(), pa.large_binary(), pa.binary_view()):
        column = pa.array(raw, dtype)
        assert uid.uid_text(column).to_pylist() == texts
        assert uid.uid_text(pa.chunked_array([column, column.slice(len(raw))])).to_pylist() == texts
        if None not in raw:
            assert uid.uid_bytes(column).tobytes() == b"".join(raw)


@pytest.mark.parametrize("column", [["a"], [None, 5], [b"x" * 15, b"x" * 16], [b"x" * 32], [1.5], [[1]]])
def test_any_other_column_is_left_as_it_is(column):
    assert uid.uid_text(pa.array(column)).equals(pa.array(column))


@pytest.mark.parametrize("column", [["0" * 31], ["0" * 33, "0" * 31], ["g" * 32], [None], [7], ["0" * 32, None], []])
def test_what_is_no_uid_has_no_bytes(column):
    with pytest.raises(ValueError, match="digit"):
        uid.uid_bytes(pa.array(column))


@given(st.lists(HEX, min_size=1))
def test_u64_pairs_are_datacomps(uids):
    """DataComp writes (int(uid[:16], 16), int(uid[16:32], 16)) as np.dtype("u8,u8")."""
    raw = uid.uid_bytes(pa.array(uids))
    expected = np.array([(int(u[:16], 16), int(u[16:], 16)) for u in uids], np.dtype("u8,u8"))
    pairs = uid.to_u64_pairs(raw)
    assert (pairs == expected).all()
    assert (uid.from_u64_pairs(pairs) == raw).all()
