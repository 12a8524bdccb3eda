"""Which file a table's value names, and that no value, whatever it is, reads what is not below the root."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.pack.paths import PathError, Root, path_below, read_file
from clipsieve.schemas.outcomes import ErrorClass

SECRET = b"a secret"
INSIDE = {b"one", b"two", b"a hundred percent"}
MAX_BYTES = 64


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a secret, and below it the root ``photos``, with links and pipes that lead out of it or nowhere."""
    folder = tmp_path_factory.mktemp("place").resolve()
    root = folder / "photos"
    (root / "cats").mkdir(parents=True)
    (folder / "secret").write_bytes(SECRET)
    (folder / "photos-too").mkdir()
    (folder / "photos-too" / "secret").write_bytes(SECRET)
    (root / "one").write_bytes(b"one")
    (root / "cats" / "two").write_bytes(b"two")
    (root / "100%2e").write_bytes(b"a hundred percent")
    (root / "empty").write_bytes(b"")
    (root / "large").write_bytes(bytes(MAX_BYTES + 1))
    (root / "secret-link").symlink_to(folder / "secret")
    (root / "up").symlink_to("..")
    (root / "hop").symlink_to("up/secret")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nothing")
    (root / "inner-link").symlink_to("cats/two")
    (root / "device").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe")
    return folder


def read(place: Path, value: str, folder: str = "photos") -> bytes:
    root = Root.of(str(place / "photos"))
    return read_file(root.real, path_below(value, str(place / folder), root), MAX_BYTES)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("one", b"one"),
        ("./cats//two", b"two"),
        ("cats/../one", b"one"),
        ("{root}/cats/two", b"two"),
        ("file://{root}/one", b"one"),
        ("FILE://localhost{root}/%6Fne", b"one"),
        ("file:{root}/cats/%74%77%6F", b"two"),
        ("100%2e", b"a hundred percent"),
        ("file://{root}/100%252e", b"a hundred percent"),
        ("inner-link", b"two"),
    ],
)
def test_a_value_names_a_file(place: Path, value: str, content: bytes) -> None:
    assert read(place, value.replace("{root}", str(place / "photos"))) == content


@pytest.mark.parametrize(
    ("value", "error_class"),
    [
        ("../secret", ErrorClass.FORBIDDEN_PATH),
        ("cats/../../secret", ErrorClass.FORBIDDEN_PATH),
        ("../photos-too/secret", ErrorClass.FORBIDDEN_PATH),
        ("..", ErrorClass.FORBIDDEN_PATH),
        ("/etc/passwd", ErrorClass.FORBIDDEN_PATH),
        ("//etc/passwd", ErrorClass.FORBIDDEN_PATH),
        ("/dev/zero", ErrorClass.FORBIDDEN_PATH),
        ("file:///etc/passwd", ErrorClass.FORBIDDEN_PATH),
        ("file:////etc/passwd", ErrorClass.FORBIDDEN_PATH),
        ("file:///{root}/%2e%2e/secret", ErrorClass.FORBIDDEN_PATH),
        ("file://{root}/..%2fsecret", ErrorClass.FORBIDDEN_PATH),
        ("secret-link", ErrorClass.FORBIDDEN_PATH),
        ("up/secret", ErrorClass.FORBIDDEN_PATH),
        ("hop", ErrorClass.FORBIDDEN_PATH),
        ("device", ErrorClass.FORBIDDEN_PATH),
        ("%2e%2e/secret", ErrorClass.FILE_NOT_FOUND),
        ("..%2fsecret", ErrorClass.FILE_NOT_FOUND),
        ("..\\secret", ErrorClass.FILE_NOT_FOUND),
        ("~/one", ErrorClass.FILE_NOT_FOUND),
        ("$HOME/one", ErrorClass.FILE_NOT_FOUND),
        ("nothing", ErrorClass.FILE_NOT_FOUND),
        ("gone", ErrorClass.FILE_NOT_FOUND),
        ("loop", ErrorClass.NOT_A_FILE),
        ("one/two", ErrorClass.FILE_NOT_FOUND),
        ("a" * 5000, ErrorClass.FILE_NOT_FOUND),
        ("", ErrorClass.INVALID_URL),
        ("one\0", ErrorClass.INVALID_URL),
        ("file://{root}/one%00", ErrorClass.INVALID_URL),
        ("file://{root}/%FF", ErrorClass.INVALID_URL),
        ("\N{REPLACEMENT CHARACTER}.jpg", ErrorClass.INVALID_URL),
        ("file://host/one", ErrorClass.INVALID_URL),
        ("file://", ErrorClass.FORBIDDEN_PATH),
        ("http://127.0.0.1/one", ErrorClass.SCHEME_NOT_ALLOWED),
        ("s3://bucket/one", ErrorClass.SCHEME_NOT_ALLOWED),
        ("cats", ErrorClass.NOT_A_FILE),
        (".", ErrorClass.NOT_A_FILE),
        ("pipe", ErrorClass.NOT_A_FILE),
        ("empty", ErrorClass.EMPTY_BODY),
        ("large", ErrorClass.TOO_LARGE),
    ],
)
def test_what_may_not_be_read_fails_as_what_it_is(place: Path, value: str, error_class: ErrorClass) -> None:
    with pytest.raises(PathError) as refused:
        read(place, value.replace("{root}", str(place / "photos")))
    assert refused.value.error_class is error_class


def test_a_device_below_the_root_is_not_opened() -> None:
    with pytest.raises(PathError) as refused:
        read_file("/dev", "null", MAX_BYTES)
    assert refused.value.error_class is ErrorClass.NOT_A_FILE


def test_a_file_that_says_no_size_is_read_to_the_limit() -> None:
    with pytest.raises(PathError) as refused:
        read_file("/proc", "self/status", MAX_BYTES)
    assert refused.value.error_class is ErrorClass.TOO_LARGE


def test_a_path_is_relative_to_the_table_and_its_url_to_the_root(place: Path) -> None:
    root = Root.of(str(place))
    assert path_below("../photos/cats/two", str(place / "photos-too"), root) == "photos/cats/two"
    # Out of the root: never a path that would name another file below it.
    inner = Root.of(str(place / "photos"))
    assert path_below("one", str(place / "photos-too"), inner) == "../photos-too/one"


def test_a_root_that_is_a_link_holds_what_it_leads_to(place: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(place / "photos")
    root = Root.of(str(tmp_path / "alias"))
    for value in (f"{tmp_path}/alias/cats/two", f"{place}/photos/cats/two", "cats/two"):
        assert path_below(value, root.real, root) == "cats/two"
        assert read_file(root.real, "cats/two", MAX_BYTES) == b"two"


PARTS = st.sampled_from(
    ["..", ".", "", "cats", "two", "one", "secret", "up", "hop", "photos", "photos-too", "secret-link", "%2e%2e", "%2F"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    parts=st.lists(PARTS | st.text(max_size=3), max_size=7),
    start=st.sampled_from(["", "/", "file://", "file:", "{root}/", "file://{root}/", "file://localhost{root}/up/"]),
    folder=st.sampled_from(["photos", "photos/cats", "photos-too", "."]),
)
def test_no_value_reads_what_is_not_below_the_root(place: Path, parts: list[str], start: str, folder: str) -> None:
    value = start.replace("{root}", quote(str(place / "photos"))) + "/".join(parts)
    with suppress(PathError):
        assert read(place, value, folder) in INSIDE
