from __future__ import annotations

import threading
import urllib.error
import urllib.request

import pytest

from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from clipsieve.schemas.errors import InputError


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read(), answer.headers


def test_pages_are_served_and_others_not_found():
    with serve({"/cat.png": Page(b"cat"), "/dog.jpg": Page(b"dog", Behaviour.WRONG_TYPE)}) as base:
        body, headers = get(f"{base}/cat.png")
        assert (body, headers["Content-Type"]) == (b"cat", "image/png")
        body, headers = get(f"{base}/dog.jpg")
        assert (body, headers["Content-Type"]) == (b"dog", "text/plain")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{base}/cow.png")


def test_a_flaky_page_fails_every_other_time():
    with serve({"/a.png": Page(b"a", Behaviour.FLAKY)}) as base:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="500"):
                get(f"{base}/a.png")
            assert get(f"{base}/a.png")[0] == b"a"


def test_the_port_can_be_chosen_again_and_a_taken_one_is_named():
    with serve({}) as base:
        port = int(base.rpartition(":")[2])
        with pytest.raises(InputError, match=f"port {port}.*choose another"), serve({}, port):
            pass
    with serve({}, port) as again:
        assert again == base


def test_a_stalled_request_does_not_hold_up_the_end():
    before = {thread for thread in threading.enumerate() if thread.name == "web"}
    with pytest.raises(OSError), serve({"/a.png": Page(b"a", Behaviour.STALL)}) as base:
        urllib.request.urlopen(f"{base}/a.png", timeout=0.2)
    assert {thread for thread in threading.enumerate() if thread.name == "web"} == before
