from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.robots import OPT_OUTS, opts_out


@pytest.mark.parametrize(
    "header",
    [
        "noai",
        "NoImageAI",
        "none",
        "max-image-preview:large, noai",
        "noindex, max-snippet: 5",
        "googlebot: noindex",
        "googlebot: nofollow, noindex",
        "unavailable_after: 25 Jun 2030 15:00:00 PST, noimageindex",
    ],
)
def test_an_opt_out_is_heard(header):
    assert opts_out([header])
    assert opts_out(["all", header])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "all",
        "nofollow, noarchive",
        "max-image-preview:none",
        "googlebot: max-image-preview:none",
        "max-snippet: 0",
        "noairplanes",
        "unavailable_after: Wednesday, 25 Jun 2030 15:00:00 PST",
    ],
)
def test_other_directives_are_no_opt_out(header):
    assert not opts_out([header])


others = st.sampled_from(["all", "nofollow", "max-snippet:-1", "max-image-preview:large", "notranslate", ""])
spaces = st.sampled_from(["", " ", "\t"])


@given(
    st.lists(others, max_size=4),
    st.lists(others, max_size=4),
    st.sampled_from(sorted(OPT_OUTS)),
    st.sampled_from(["", "bot:", "otherbot: "]),
    spaces,
)
def test_neither_place_nor_agent_nor_case_hides_an_opt_out(before, after, word, agent, space):
    assert not opts_out([",".join(before + after)])
    assert opts_out([f",{space}".join([*before, f"{agent}{space}{word.upper()}{space}", *after])])
