"""What a recipe's text stands for, and what is refused."""

from __future__ import annotations

import pytest

from clipsieve.pipelines.filters.columns import PairColumns
from clipsieve.pipelines.filters.registry import NAMED, SETS, parse_rules
from clipsieve.pipelines.filters.top import Top
from clipsieve.schemas.errors import InputError


def parsed(*texts: str) -> list[tuple[str, str]]:
    return [(rule.reason, rule.text) for rule in parse_rules(texts)]


def test_names_sets_conditions_and_calls() -> None:
    assert parsed("few_words") == [("few_words", "caption_words > 2")]
    assert parsed("basic") == [(name, NAMED[name].text) for name in SETS["basic"]]
    assert parsed("caption_words>4") == [("caption_words > 4", "caption_words > 4")]
    assert parsed(" few_words :  caption_words > 4 ") == [("few_words", "caption_words > 4")]
    assert parsed("top( similarity,30 )") == [("top(similarity, 30)", "top(similarity, 30)")]
    assert parse_rules(["best: top(clip_l14_similarity_score, percent=30)"])[0].judge == Top(
        "clip_l14_similarity_score", 30
    )
    assert parsed("url != 'http://a'") == [("url != 'http://a'", "url != 'http://a'")]


def test_a_rule_that_stands_there_twice_is_one() -> None:
    both = [reason for reason, _ in parsed("basic", "laion", "basic")]
    assert both == [*SETS["basic"], "short_alt", "small_file", "low_similarity"]


def test_every_name_is_a_rule_that_can_be_used() -> None:
    for rule in parse_rules([*SETS, *NAMED]):
        rule.judge.check(PairColumns("shards"))
    assert set(NAMED) == {name for members in SETS.values() for name in members}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["nosuch"], "no such rule; there are basic, laion, drift, junk, not_english"),
        (["few_words >"], "neither a named rule nor a condition"),
        (["few_words", "few_words: caption_words > 4"], "reason 'few_words' is that of 'caption_words > 2' too"),
        (["uid: similarity > 0"], "a reason cannot be 'uid'"),
        (["reject_reason: similarity > 0"], "a reason cannot be 'reject_reason'"),
        (["top(similarity)"], r"it is written top\(column, percent\)"),
        (["top(similarity, 30 + 1)"], r"it is written top\(column, percent\)"),
        (["bottom(similarity, 30)"], "there are top, repeated_caption"),
        (["__import__('os').system('ls')"], "no such kind of rule"),
        (["similarity.real > 0"], "more than a condition"),
        ([], "no rule"),
    ],
)
def test_what_is_no_rule_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_rules(texts)


@pytest.mark.parametrize(
    "text",
    [
        "top(similarity, 0)",
        "top(similarity, 33.333)",
        "repeated_caption(0)",
        "image_based(0)",
        "image_based(5)",
        "5 > 3",
    ],
)
def test_values_that_a_rule_cannot_take_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        for rule in parse_rules([text]):
            rule.judge.check(PairColumns("shards"))
