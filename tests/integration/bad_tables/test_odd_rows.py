"""Tables that are odd but can be read, each through the real command: how their rows end."""

from __future__ import annotations

import gzip
import hashlib
import json

import pyarrow as pa
import pytest

from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.samples import iter_samples
from tests.integration.bad_tables.files import NOBODY, PICTURE, UID, manifest_of, parquet, text


def test_numbers_and_nested_values_are_text_or_no_url(rows_of, web, tmp_path):
    lines = [
        {"url": 17, "caption": 1.5},
        {"url": [web], "caption": ["a", {"b": None}]},
        {"url": {"href": web}, "caption": True},
        {"url": None, "caption": None},
        {"caption": "no URL"},
        {"url": f"{web}/a.png", "caption": "fine", "more": {"deep": [1]}},
    ]
    rows = rows_of(text(tmp_path, "t.jsonl", "\n".join(map(json.dumps, lines))))
    assert [row["error_class"] for row in rows] == [ErrorClass.INVALID_URL.value] * 5 + [None]
    assert [row["caption"] for row in rows] == ["1.5", '["a", {"b": null}]', "true", "", "no URL", "fine"]
    assert [row["more"] for row in rows] == [None] * 5 + ['{"deep": [1]}']


@pytest.mark.parametrize(
    ("urls", "captions"),
    [
        (pa.array([1, None]), pa.array([2.5, None])),
        (pa.array([None, None]), pa.array([None, None])),
        (pa.array([True, None]), pa.array([b"bytes", None])),
        (pa.array(["a", None]).dictionary_encode(), pa.array(["b", None], pa.large_string())),
    ],
)
def test_columns_of_other_types_are_cast_and_nulls_are_no_url(rows_of, tmp_path, urls, captions):
    rows = rows_of(parquet(tmp_path, {"url": urls, "caption": captions}))
    assert {row["error_class"] for row in rows} == {ErrorClass.INVALID_URL.value}
    expected = [value.decode() if isinstance(value, bytes) else str(value or "") for value in captions.to_pylist()]
    assert [row["caption"] for row in rows] == list(dict.fromkeys(expected))


def test_a_csv_of_another_hand_is_read_as_it_is_meant(rows_of, web, tmp_path):
    content = f'\ufeffurl,caption,n\r\n{web}/a.png,"two\r\nlines, ""quoted""",1\r\n\r\n"{web}/b.png",NUL\0NUL,\r\n'
    rows = rows_of(text(tmp_path, "t.csv", content))
    assert [row["status"] for row in rows] == ["success", "success"]
    assert [row["caption"] for row in rows] == ['two\r\nlines, "quoted"', "NUL\0NUL"]
    assert [row["n"] for row in rows] == ["1", ""]


def test_a_published_tsv_has_neither_header_nor_quoting(rows_of, web, tmp_path):
    content = gzip.compress(f'"Hello" said Bob\t{web}/a.png\n"whole"\t{web}/b.png\n'.encode())
    (tmp_path / "train.tsv.gz").write_bytes(content)
    rows = rows_of(tmp_path / "train.tsv.gz", "--columns", "caption,url")
    assert [row["caption"] for row in rows] == ['"Hello" said Bob', '"whole"']
    assert [row["status"] for row in rows] == ["success"] * 2


def test_parts_of_unlike_types_and_columns_that_json_lacks_are_carried(rows_of, web, tmp_path):
    (tmp_path / "parts").mkdir()
    first = {"caption": ["c"], "url": [f"{web}/a.png"], "n": [640], "far": pa.array([10**8], pa.date32())}
    second = {
        "url": pa.array([f"{web}/b.png"], pa.large_string()),
        "caption": ["d"],
        "n": pa.array([None], pa.float64()),
        "mars": pa.array([1], pa.timestamp("us", "Mars/Phobos")),
        "raw": [b"\xff\0"],
        "box": pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
    }
    parquet(tmp_path / "parts", first, "a.parquet")
    parquet(tmp_path / "parts", second, "b.parquet")
    rows_of(tmp_path / "parts")
    one, two = iter_samples(str(tmp_path / "shards" / "00000.tar"))
    wanted = {"n": 640.0, "far": "<value out of range: 100000000>", "mars": None, "raw": None, "box": None}
    assert {name: one.metadata[name] for name in wanted} == wanted
    wanted = {"n": None, "far": None, "mars": "1970-01-01 00:00:00.000001Z", "raw": "ff00", "box": [1, 2]}
    assert {name: two.metadata[name] for name in wanted} == wanted


def test_a_caption_of_two_megabytes_is_carried_whole(rows_of, web, tmp_path):
    caption = "".join(f'{n} ärmel 袖 \U0001f455 \\ " \n' for n in range(80_000))
    assert len(caption.encode()) > 2_000_000
    (row,) = rows_of(parquet(tmp_path, {"url": [f"{web}/a.png"], "caption": [caption]}))
    assert row["caption"] == caption
    (sample,) = iter_samples(str(tmp_path / "shards" / "00000.tar"))
    assert sample.caption == json.loads(sample.members["json"])["caption"] == caption


def test_rows_that_repeat_are_left_out_and_counted(rows_of, web, tmp_path):
    table = {"url": [f"{web}/a.png"] * 5 + [f"{web}/b.png"], "caption": ["c", "c", "d", "c", None, "c"]}
    rows = rows_of(parquet(tmp_path, table))
    assert [(row["url"][-5:], row["caption"]) for row in rows] == [
        ("a.png", "c"),
        ("a.png", "d"),
        ("a.png", ""),
        ("b.png", "c"),
    ]
    counts = manifest_of(tmp_path).counts.shown
    assert (counts["rows"], counts["duplicates"], counts["success"]) == (6, 2, 4)


def test_of_rows_with_one_uid_the_first_is_kept(rows_of, web, tmp_path):
    rows = rows_of(parquet(tmp_path, {"url": [NOBODY, f"{web}/a.png"], "caption": ["a", "b"], "uid": [UID] * 2}))
    assert [(row["uid"], row["caption"]) for row in rows] == [(UID, "a")]


NO_HOST = (ErrorClass.INVALID_URL, ErrorClass.HOST_NOT_FOUND)
"""Whether a name breaks the rules for names or is only nobody's, the libraries may say."""
ODD_URLS = [
    ("  {web}/a.png ", None),
    ("{web}/a.png\n", None),
    ("\t{web}/a.png\r\n", None),
    ("\ufeff{web}/a.png", ErrorClass.INVALID_URL),
    ("{web}/snö man.png", None),
    ("{web}/sn%C3%B6%20man.png", None),
    ("{web}/100%.png", None),
    ("{web}/100%25.png", None),
    ("{web}/%zz%", ErrorClass.HTTP_ERROR),
    ("{web}/a.png#fragment", None),
    ("{web}/a.png?q=ä&r=%FF&&=", None),
    ("{web}/./b/../a.png", ErrorClass.HTTP_ERROR),  # sent as it is written
    ("{web}/\udcff".encode("utf-8", "replace").decode(), ErrorClass.HTTP_ERROR),
    ("HTTP://{host}/a.png", None),
    ("{web}", ErrorClass.HTTP_ERROR),
    ("{web}?q", ErrorClass.HTTP_ERROR),
    ("{web}/" + "x" * 4_000, ErrorClass.HTTP_ERROR),
    ("http://" + "x" * 300 + ".invalid/", NO_HOST),
    ("http://a..invalid/", NO_HOST),
    ("http://-.invalid/", NO_HOST),
    ("http://xn--\ud7ff.invalid/", NO_HOST),
    ("http:/{host}/a.png", ErrorClass.INVALID_URL),
    ("http:{host}/a.png", ErrorClass.INVALID_URL),
    ("{host}/a.png", (ErrorClass.INVALID_URL, ErrorClass.SCHEME_NOT_ALLOWED)),
    ("nan", ErrorClass.INVALID_URL),
    ("\0", ErrorClass.INVALID_URL),
]


def test_an_odd_url_is_asked_for_or_is_none(rows_of, web, tmp_path):
    host = web.removeprefix("http://")
    urls = [url.replace("{web}", web).replace("{host}", host) for url, _ in ODD_URLS]
    rows = rows_of(parquet(tmp_path, {"url": urls, "caption": [str(n) for n in range(len(urls))]}))
    for (url, expected), row in zip(ODD_URLS, rows, strict=True):
        end = ErrorClass(row["error_class"]) if row["error_class"] else None
        assert end in (expected if isinstance(expected, tuple) else (expected,)), url
    assert [row["url"] for row in rows] == urls


@pytest.mark.parametrize("inside", ["/a\r\nX-Injected: 1", "/a b\tc", "/\x01\x7f", "/" + "y" * 1_000_000])
def test_a_url_with_what_no_request_line_can_hold_harms_no_other(rows_of, web, tmp_path, inside):
    rows = rows_of(parquet(tmp_path, {"url": [web + inside, f"{web}/a.png"], "caption": ["odd", "fine"]}))
    assert rows[0]["error_class"] in ("invalid_url", "http_error", "connection_error", "protocol_error")
    assert rows[1]["status"] == "success"
    assert rows[0]["url"] == web + inside


def test_bytes_are_held_against_the_tables_sha256(rows_of, web, tmp_path):
    right = hashlib.sha256(PICTURE).hexdigest()
    digests = [right, right.upper(), "0" * 64, None, ""]
    urls = [f"{web}/a.png?{n}" for n in range(len(digests))]
    rows = rows_of(parquet(tmp_path, {"url": urls, "caption": ["c"] * len(urls), "sha256": digests}))
    mismatch = ErrorClass.HASH_MISMATCH.value
    assert [row["error_class"] for row in rows] == [None, None, mismatch, None, None]
    assert [row["source_sha256"] for row in rows] == digests
    assert {row["sha256"] for row in rows} == {right}
