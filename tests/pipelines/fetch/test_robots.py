"""X-Robots-Tag and TDM headers: what opts out, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from clipsieve.pipelines.fetch.robots import NO_AI, NO_INDEX, forbids_use, header_opt_out
from clipsieve.schemas.outcomes import Consent

US = "clipsieve"


@pytest.mark.parametrize(
    "header",
    [
        "noai",
        "NoImageAI",
        "none",
        "max-image-preview:large, noai",
        "noindex, max-snippet: 5",
        "*: noindex",
        "clipsieve: noindex",
        "ClipSieve/1.0 : nofollow, noindex",
        "googlebot: nofollow, clipsieve: noimageindex",
        "googlebot: noindex, noai",
        "img2dataset: noimageai",
        "unavailable_after: 25 Jun 2030 15:00:00 PST, noimageindex",
        "unavailable_after: Wednesday, 25-Jun-30 15:00:00 GMT, noindex",
        "unavailable_after: 2030-06-25T15:00:00+00:00, noindex",
        "noindex nofollow, none",
    ],
)
def test_an_opt_out_is_heard(header):
    assert forbids_use([header], US)
    assert forbids_use(["all", header, "googlebot: all"], US)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",: ,:,",
        "all",
        "nofollow, noarchive",
        "googlebot: noindex, nofollow",
        "googlebot: nofollow, noindex",
        "GPTBot/1.1: none, noindex",
        "clipsieve: all, bingbot: noindex",
        "clipsievebot: noindex",
        "max-image-preview:none",
        "googlebot: max-image-preview:none",
        "max-snippet: 0",
        "noairplanes",
        "unavailable_after: Wednesday, 25 Jun 2030 15:00:00 PST",
    ],
)
def test_other_directives_are_no_opt_out(header):
    assert not forbids_use([header], US)


others = st.lists(
    st.sampled_from(
        [
            "all",
            "nofollow",
            "max-snippet:-1",
            "max-image-preview:large",
            "notranslate",
            "",
            "unavailable_after: Wednesday, 25-Jun-30 15:00:00 GMT",
        ]
    ),
    max_size=4,
)
spaces = st.sampled_from(["", " ", "\t"])


@given(others, others, st.sampled_from(sorted(NO_AI | NO_INDEX)), spaces, st.booleans())
def test_neither_place_nor_case_nor_a_header_of_its_own_hides_an_opt_out(before, after, word, space, apart):
    assert not forbids_use([",".join(before + after)], US)
    parts = [*before, f"{space}{word.upper()}{space}", *after]
    assert forbids_use(parts if apart else [f",{space}".join(parts)], US)


@given(others, st.sampled_from(sorted(NO_AI | NO_INDEX)), st.sampled_from(["*", US, "otherbot", "Other-Bot/2.1"]))
def test_a_name_scopes_all_that_follows_it_but_wishes_about_ai(others, word, name):
    header = f"otherbot: all, {name}: {', '.join([*others, word])}"
    assert forbids_use([header], US) == (name in ("*", US) or word in NO_AI)


@given(st.lists(st.text(max_size=60), max_size=4))
def test_no_text_is_an_error(values):
    assert forbids_use(values, US) in (True, False)


@pytest.mark.parametrize("value, reserved", [("1", True), (" 1 ", True), ("0", False), ("", False), ("01", False)])
def test_a_tdm_reservation_of_1_is_heeded(value, reserved):
    headers = CIMultiDict({"TDM-Reservation": value, "TDM-Policy": "https://example.org/policy.json"})
    assert header_opt_out(headers, US) == (Consent.TDM_RESERVATION if reserved else None)


def test_every_header_of_a_name_is_read():
    headers = CIMultiDict([("x-robots-tag", "all"), ("tdm-reservation", "0"), ("tdm-reservation", "1")])
    assert header_opt_out(headers, US) is Consent.TDM_RESERVATION
    headers.add("X-ROBOTS-TAG", "noai")
    assert header_opt_out(headers, US) is Consent.X_ROBOTS_TAG
    assert header_opt_out(CIMultiDict(), US) is None
